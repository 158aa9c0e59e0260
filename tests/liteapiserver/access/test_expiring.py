from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.access.expiring import NEVER, UNIX_EPOCH, ExpiringTable


class ExpiringTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.gone: list[str] = []
        self.table: ExpiringTable[str, int] = ExpiringTable(3, self.gone.append)

    def put(self, names: str, end: float = NEVER, now: float = 0.0, owner: str = "me", size: int = 1) -> None:
        for name in names:
            self.table.put(owner, name, ord(name), end, now, size)

    def test_the_oldest_gives_way(self) -> None:
        self.put("abcd")
        self.assertEqual((dict(self.table.items()).keys(), self.gone), (set("bcd"), ["a"]))

    def test_what_is_used_or_put_again_is_not_old(self) -> None:
        self.put("abc")
        self.table.touch("a")
        self.put("b")
        self.put("de")
        self.assertEqual(self.gone, ["c", "a"])

    def test_what_has_expired_goes_first(self) -> None:
        self.put("a")
        self.put("b", 10.0)
        self.put("c")
        self.put("d", now=9.9)
        self.assertEqual(self.gone, ["a"])
        self.put("b", 20.0, now=9.9)
        self.put("e", now=10.0)
        self.assertEqual(self.gone, ["a", "c"])
        self.put("f", now=20.0)
        self.assertEqual(self.gone, ["a", "c", "b"])
        self.assertEqual(len(self.table), 3)

    def test_nothing_has_expired_at_boot(self) -> None:
        self.put("a", 10.0, UNIX_EPOCH)
        self.put("b", 20.0, UNIX_EPOCH)
        self.assertEqual(self.gone, [])
        self.table.remove("a")
        self.put("c", now=15.0)
        self.assertEqual((self.gone, self.table.get("a"), self.table.get("b")), ([], None, ord("b")))

    def test_who_holds_most_gives_way(self) -> None:
        self.put("a")
        self.put("xyz", owner="other")
        self.assertEqual(self.gone, ["x"])
        self.put("b")
        self.assertEqual(self.gone, ["x", "a"])  # of two who hold as much it is the one who puts
        self.put("w", owner="third")
        self.assertEqual(self.gone, ["x", "a", "y"])

    def test_sizes_count(self) -> None:
        self.put("a")
        self.put("b", size=2)
        self.put("c", owner="other")
        self.assertEqual(self.gone, ["a"])
        self.put("d", owner="other", size=4)
        self.assertEqual((self.gone, len(self.table)), (["a", "c", "d"], 1))
        self.put("d", owner="other")
        self.assertEqual((self.gone, len(self.table)), (["a", "c", "d"], 2))
