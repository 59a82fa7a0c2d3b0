import asyncio

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.servers.emulator.api.slot_queue import Slots


def run(coroutine):
    return asyncio.run(coroutine)


async def settle():
    """Lets every task that can run, run."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_slots_go_in_the_order_of_asking():
    """Who waits longest is next, always."""

    async def body():
        slots, order = Slots(1), []

        async def agent(number):
            await slots.take()
            order.append(number)
            await asyncio.sleep(0)
            slots.give()

        await asyncio.gather(*(agent(number) for number in range(10)))
        assert order == list(range(10))
        assert slots.waiting == 0

    run(body())


def test_a_new_request_does_not_overtake_a_waiter():
    """A slot given back belongs to the first waiter, even if somebody asks in the same moment."""

    async def body():
        slots, order = Slots(1), []
        await slots.take()

        async def agent(name):
            await slots.take()
            order.append(name)

        first = asyncio.create_task(agent("first"))
        await settle()
        slots.give()
        second = asyncio.create_task(agent("second"))
        await settle()
        assert order == ["first"]
        slots.give()
        await asyncio.gather(first, second)
        assert order == ["first", "second"]

    run(body())


def test_cancelled_waiters_leave_no_gap():
    """A waiter that goes away is passed over and costs no slot, also when its turn had just come."""

    async def body():
        slots = Slots(1)
        await slots.take()
        waiting = [asyncio.create_task(slots.take()) for _ in range(3)]
        await settle()
        waiting[0].cancel()
        await settle()
        assert slots.waiting == 2
        slots.give()  # the second one's turn comes ...
        waiting[1].cancel()  # ... and it goes away before it notices
        await settle()
        assert waiting[2].done()
        assert not waiting[2].cancelled()

    run(body())


@given(st.integers(1, 4), st.lists(st.booleans(), min_size=1, max_size=30))
def test_never_more_holders_than_slots(count, cancels):
    """Whatever is cancelled when, at most `count` hold a slot, and all slots come back."""

    async def body():
        slots, holding, most = Slots(count), 0, 0

        async def agent():
            nonlocal holding, most
            await slots.take()
            try:
                holding += 1
                most = max(most, holding)
                await asyncio.sleep(0)
            finally:
                holding -= 1
                slots.give()

        tasks = [asyncio.create_task(agent()) for _ in cancels]
        for task, cancel in zip(tasks, cancels, strict=True):
            if cancel:
                await asyncio.sleep(0)
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= count
        for _ in range(count):
            await asyncio.wait_for(slots.take(), 1)

    run(body())
