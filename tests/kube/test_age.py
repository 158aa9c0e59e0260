from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.age import UNKNOWN, age, human_duration

MINUTE, HOUR, DAY = 60, 3600, 86400
YEAR = 365 * DAY


class HumanDurationTests(SynchronousTestCase):
    def test_as_kubernetes_prints_them(self) -> None:
        """The cases of apimachinery's own test, and the borders between them."""
        for seconds, wanted in (
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (70, "70s"),
            (119, "119s"),
            (120, "2m"),
            (2 * MINUTE + 1, "2m1s"),
            (9 * MINUTE + 59, "9m59s"),
            (10 * MINUTE + 30, "10m"),
            (179 * MINUTE + 59, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 30 * MINUTE, "3h30m"),
            (7 * HOUR + 59 * MINUTE + 59, "7h59m"),
            (8 * HOUR + 30 * MINUTE, "8h"),
            (47 * HOUR + 59 * MINUTE, "47h"),
            (2 * DAY, "2d"),
            (2 * DAY + 13 * HOUR, "2d13h"),
            (7 * DAY + 23 * HOUR, "7d23h"),
            (8 * DAY + 5 * HOUR, "8d"),
            (2 * YEAR - 1, "729d"),
            (2 * YEAR, "2y"),
            (2 * YEAR + 64 * DAY + HOUR, "2y64d"),
            (8 * YEAR - 1, "7y364d"),
            (8 * YEAR + 200 * DAY, "8y"),
        ):
            self.assertEqual(human_duration(seconds), wanted, seconds)

    def test_from_a_timestamp(self) -> None:
        self.assertEqual(age("1970-01-01T00:00:30Z", 100.5), "70s")
        for text in (None, "", "yesterday", "0001-01-01T00:00:00"):
            self.assertIn(age(text, 0), (UNKNOWN, "1970y"))
