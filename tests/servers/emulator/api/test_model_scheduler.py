import asyncio
import math
import threading

import pytest

from pytest_llmperf.servers.emulator.api.model_scheduler import BUSY, Scheduler
from pytest_llmperf.servers.emulator.api.request_options import RequestError
from pytest_llmperf.servers.emulator.engine import EngineError, LoadOptions
from tests.servers.conftest import PATIENCE_S, HandEngine

SMALL = LoadOptions(num_ctx=512)
LARGE = LoadOptions(num_ctx=1024)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE_S))


async def until(condition):
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.001)


def test_one_load_serves_requests_of_the_same_options():
    """The same options find the model loaded; other options load it again."""

    async def body():
        engine = HandEngine()
        scheduler = Scheduler(engine)
        for options in (SMALL, SMALL, LARGE):
            scheduler.release(await scheduler.acquire(options, None))
        assert engine.events == ["load", "unload", "load"]
        assert scheduler.loaded.num_ctx == 1024

    run(body())


@pytest.mark.parametrize(
    ("first", "second", "reloads"),
    [
        (LoadOptions(), LoadOptions(), False),
        (LoadOptions(), LoadOptions(num_ctx=4096), False),
        (LoadOptions(num_ctx=512), LoadOptions(), True),
        (LoadOptions(num_ctx=99999), LoadOptions(num_ctx=8192), False),
        (LoadOptions(num_gpu=20), LoadOptions(num_gpu=-1), False),
        (LoadOptions(num_gpu=-1), LoadOptions(num_gpu=20), True),
        (LoadOptions(num_thread=1), LoadOptions(), True),
        (LoadOptions(num_batch=64), LoadOptions(num_batch=128), True),
        (LoadOptions(), LoadOptions(use_mmap=False), True),
        (LoadOptions(), LoadOptions(main_gpu=1), True),
    ],
)
def test_what_forces_a_reload(first, second, reloads):
    """Auto matches auto, equal context windows match however written, an automatic num_gpu is content with any."""

    async def body():
        engine = HandEngine()
        scheduler = Scheduler(engine)
        for options in (first, second):
            scheduler.release(await scheduler.acquire(options, None))
        assert engine.events.count("load") == (2 if reloads else 1)

    run(body())


def test_a_reload_waits_for_the_users_and_nobody_overtakes_it():
    """A request of other options waits until the running one is done; one that comes later waits behind it."""

    async def body():
        engine, order = HandEngine(slots=2), []
        scheduler = Scheduler(engine)
        first = await scheduler.acquire(SMALL, None)

        async def agent(name, options):
            loaded = await scheduler.acquire(options, None)
            order.append((name, loaded.num_ctx))
            scheduler.release(loaded)

        large = asyncio.create_task(agent("large", LARGE))
        await asyncio.sleep(0)
        small = asyncio.create_task(agent("small", SMALL))
        await asyncio.sleep(0.01)
        assert order == []
        scheduler.release(first)
        await asyncio.gather(large, small)
        assert order == [("large", 1024), ("small", 512)]

    run(body())


def test_the_queue_of_loads_has_a_limit():
    """Beyond the limit the answer is Ollama's 503, with its two spaces."""

    async def body():
        engine = HandEngine()
        engine.let_load.clear()
        scheduler = Scheduler(engine, max_queue=2)
        waiting = [asyncio.create_task(scheduler.acquire(SMALL, None)) for _ in range(3)]
        await asyncio.sleep(0)  # one is in hand, two wait
        with pytest.raises(RequestError, match="maximum pending") as caught:
            await scheduler.acquire(SMALL, None)
        assert caught.value.status == 503
        assert str(caught.value) == BUSY == "server busy, please try again.  maximum pending requests exceeded"
        engine.let_load.set()
        for loaded in await asyncio.gather(*waiting):
            scheduler.release(loaded)

    run(body())


def test_warm_requests_bypass_the_queue():
    """A request that the loaded model can serve is never refused, however many there are."""

    async def body():
        scheduler = Scheduler(HandEngine(), max_queue=1)
        users = [await scheduler.acquire(SMALL, None) for _ in range(20)]
        assert scheduler.loaded.users == 20
        for user in users:
            scheduler.release(user)

    run(body())


def test_the_model_leaves_when_its_time_is_over():
    """An unused model is unloaded after keep_alive; a use in between keeps it."""

    async def body():
        engine = HandEngine()
        scheduler = Scheduler(engine, keep_alive_s=0.05)
        scheduler.release(await scheduler.acquire(SMALL, None))
        user = await scheduler.acquire(SMALL, None)
        await asyncio.sleep(0.1)
        assert engine.events == ["load"]
        scheduler.release(user)
        await until(lambda: engine.events == ["load", "unload"])
        assert scheduler.loaded is None

    run(body())


def test_a_request_decides_how_long_the_model_stays():
    """The last request's keep_alive holds, and one that says nothing changes nothing."""

    async def body():
        scheduler = Scheduler(HandEngine(), keep_alive_s=300, wall_clock=lambda: 1000.0)
        for keep_alive_s, expires_at_s in ((None, 1300.0), (60.0, 1060.0), (None, 1060.0), (math.inf, math.inf)):
            scheduler.release(await scheduler.acquire(SMALL, keep_alive_s))
            assert scheduler.loaded.expires_at_s == expires_at_s

    run(body())


def test_unloading_waits_for_the_users():
    """Told to unload, the model leaves when the last request is done, not before."""

    async def body():
        engine = HandEngine()
        scheduler = Scheduler(engine)
        user = await scheduler.acquire(SMALL, None)
        scheduler.expire()
        await asyncio.sleep(0.01)
        assert engine.events == ["load"]
        scheduler.release(user)
        await until(lambda: engine.events == ["load", "unload"])

    run(body())


def test_a_request_that_comes_while_the_model_leaves_loads_it_again():
    """No request is ever given a model that is on its way out."""

    async def body():
        engine = HandEngine()
        leaving, may_leave = threading.Event(), threading.Event()

        def slow_unload():
            leaving.set()
            assert may_leave.wait(PATIENCE_S)
            engine.events.append("unload")

        engine.unload = slow_unload
        scheduler = Scheduler(engine)
        scheduler.release(await scheduler.acquire(SMALL, None))
        scheduler.expire()
        await until(leaving.is_set)
        task = asyncio.create_task(scheduler.acquire(SMALL, None))
        await asyncio.sleep(0.01)
        assert not task.done()
        assert scheduler.loaded is not None  # it is listed until its memory is free
        may_leave.set()
        scheduler.release(await task)
        assert engine.events == ["load", "unload", "load"]

    run(body())


def test_a_failed_load_is_one_request_s_error():
    """Whoever waited gets the engine's error; the next request tries again."""

    async def body():
        engine = HandEngine()
        engine.load_error = EngineError("no memory")
        scheduler = Scheduler(engine)
        with pytest.raises(EngineError, match="no memory"):
            await scheduler.acquire(SMALL, None)
        engine.load_error = None
        scheduler.release(await scheduler.acquire(SMALL, None))

    run(body())


def test_a_client_that_leaves_while_the_model_loads_costs_nothing():
    """The load is finished, nobody uses it, and it expires like any other."""

    async def body():
        engine = HandEngine()
        engine.let_load.clear()
        scheduler = Scheduler(engine, keep_alive_s=0.0)
        task = asyncio.create_task(scheduler.acquire(SMALL, None))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        engine.let_load.set()
        await until(lambda: engine.events == ["load", "unload"])

    run(body())
