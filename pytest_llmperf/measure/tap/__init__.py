"""The tap: a forwarder between an external agent and its server, which captures the bytes and their times.

`proxy_process` moves bytes in a process of its own (`__main__`), without parsing them; `proxy_client` starts that
process and talks to it; `http_exchanges` finds requests and answers in the captured bytes, after the clock has stopped.
"""
