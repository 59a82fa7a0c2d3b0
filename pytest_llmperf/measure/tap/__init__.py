"""The tap: a forwarder between an agent that we did not write and its server, which notes what passes and when.

`forward` moves bytes, in a process of its own (`__main__`), and understands none of them; `process` starts that process
and asks it; `framing` makes requests and answers out of what passed, after the clock has stopped.
"""
