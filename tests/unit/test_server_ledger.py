"""What happens when the store fails under the server: nothing half done, and it goes on."""

import asyncio

import pytest
import serverkit

from mizar.model import admission, resources
from mizar.server import controller, ledger
from mizar.store import port, sqlite


class Faulty(sqlite.SqliteStore):
    """SQLite whose disk fails for the transactions while ``broken``; ``bug``: reading raises."""

    broken = False
    bug = False

    async def list(self, prefix):
        if self.bug:
            raise LookupError("a bug")
        return await super().list(prefix)

    def transact(self, compares, writes):
        if not self.broken:
            return super().transact(compares, writes)
        failed = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(
            0.01, failed.set_exception, port.StoreError("no space left on device")
        )
        return failed


def create(name):
    tenant = resources.Tenant(metadata=resources.Metadata(name=name))
    return [admission.Request("create", tenant)]


def names(served):
    return [tenant.metadata.name for tenant in served.ledger.state.list("Tenant")]


async def serve(tmp_path):
    store = Faulty(str(tmp_path / "store"))
    served = controller.Controller(store, [])
    await served.start()
    return store, served


def test_a_failing_store_fails_what_was_under_way_and_the_server_goes_on(tmp_path):
    async def body():
        store, served = await serve(tmp_path)
        await served.submit(create("before"))
        store.broken = True
        first = asyncio.create_task(served.submit(create("failed")))
        await asyncio.sleep(0)
        store.broken = False
        behind = asyncio.create_task(served.submit(create("behind")))
        for task in (first, behind):
            with pytest.raises(ledger.UnavailableError, match="nothing was changed"):
                await task
        assert "no space left on device" in str(first.exception())
        with pytest.raises(ledger.UnavailableError):
            served.decide(create("soon"))
        epoch = served.epoch
        await serverkit.eventually(lambda: served.epoch != epoch)
        assert names(served) == ["before"]
        await served.submit(create("failed"))
        await served.stop()
        await store.close()

    asyncio.run(body())


def test_background_work_goes_on_after_a_bug(tmp_path):
    async def body():
        store, served = await serve(tmp_path)
        await served.submit(create("before"))
        epoch = served.epoch
        store.broken = store.bug = True
        with pytest.raises(ledger.UnavailableError):
            await served.submit(create("failed"))
        await asyncio.sleep(controller.REOPEN_AFTER_S + 0.3)
        assert served.epoch == epoch
        store.broken = store.bug = False
        await serverkit.eventually(lambda: served.epoch != epoch)
        assert names(served) == ["before"]
        await served.stop()
        await store.close()

    asyncio.run(body())


@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x81\xa4kind\xa4H\xff\xffx"])
def test_a_damaged_record_is_named(tmp_path, value):
    async def body():
        store = sqlite.SqliteStore(str(tmp_path / "store"))
        await store.transact([], [port.Write("resource/Tenant//acme", value)])
        with pytest.raises(port.StoreError, match=r"Tenant//acme can't be read: .* from a backup"):
            await ledger.open_ledger(store, [], print)
        await store.close()

    asyncio.run(body())


def test_another_writer_on_the_store_is_noticed_before_anything_is_lost(tmp_path):
    async def body():
        store, served = await serve(tmp_path)
        await served.submit(create("mine"))
        await store.transact([], [port.Write("fence", b"")])
        with pytest.raises(ledger.UnavailableError):
            await served.submit(create("late"))
        await served.stop()
        await store.close()

    asyncio.run(body())
