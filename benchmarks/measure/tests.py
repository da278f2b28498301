"""What can be tested without a server: python3 -m unittest measure.tests, in this folder's parent."""

import json
import unittest
import xml.etree.ElementTree as tree

from . import areas, arrayreport, chart, clients, contenders, database, figures, report, session, workloads
from . import options as settings
from .processes import Failure


def side(operations, iops=1000.0, median=50000):
    """One side of a job in fio's JSON."""
    percentiles = {"50.000000": median, "99.000000": 2 * median}
    return {"total_ios": operations, "iops": iops, "bw_bytes": iops * 4096, "runtime": 2000,
            "clat_ns": {"percentile": percentiles}}


class Reports(unittest.TestCase):
    """Reading what fio and bench print."""

    def read(self, *jobs, workload=workloads.READ_32, **more):
        text = "fio: connected to NBD server\n" + json.dumps({"jobs": jobs, **more})
        return clients.read_report(text, workload)

    def test_sides_and_jobs_are_added_up(self):
        run = self.read({"read": side(100), "write": side(50, 500.0)}, {"read": side(10)})
        self.assertEqual((run["operations"], run["iops"], run["seconds"]), (160, 2500.0, 2.0))
        self.assertAlmostEqual(run["mbps"], 2500 * 4096 / 1e6)

    def test_a_side_without_operations_does_not_count(self):
        run = self.read({"read": side(100), "write": side(0, 7.0)})
        self.assertEqual(run["iops"], 1000.0)

    def test_the_slowest_of_several_jobs_is_shown(self):
        run = self.read({"read": side(1)}, {"read": side(1, median=90000)})
        self.assertEqual((run["p50_us"], run["p99_us"]), (90.0, 180.0))

    def test_latency_from_submission_on_is_preferred(self):
        job = side(1) | {"lat_ns": {"percentile": {"50.000000": 7000, "99.000000": 8000}}}
        self.assertEqual(self.read({"read": job})["p50_us"], 7.0)

    def test_the_latency_of_flushes_is_told_where_the_work_is_flushing(self):
        sync = {"lat_ns": {"percentile": {"50.000000": 3000, "99.000000": 4000}}}
        run = self.read({"write": side(5), "sync": sync}, workload=workloads.FSYNC)
        self.assertEqual((run["operations"], run["p50_us"]), (5, 3.0))

    def test_a_failed_or_interrupted_job_is_no_result(self):
        for more in ({"error": 5}, {}):
            with self.assertRaises(ValueError):
                self.read({"read": side(1), **more}, interrupted=not more)

    def test_what_is_no_report_is_refused(self):
        for text in ("", "{}", "no json", '{"jobs": [{"read": {}}]}'):
            with self.assertRaises((ValueError, KeyError)):
                clients.read_report(text, workloads.READ_32)


class Figures(unittest.TestCase):
    """Medians and ratios."""

    def test_ratios_are_taken_within_a_round(self):
        ours = [{"round": n, "iops": 30 * n} for n in (1, 2, 3)]
        theirs = [{"round": n, "iops": 10 * n} for n in (3, 1)]
        self.assertEqual(
            figures.ratio(ours, theirs, "iops"), {"median": 3, "min": 3, "max": 3})

    def test_what_is_missing_makes_no_ratio(self):
        ours, theirs = [{"round": 1, "iops": None}], [{"round": 1, "iops": 5}]
        self.assertIsNone(figures.ratio(ours, theirs, "iops"))
        self.assertIsNone(figures.ratio(theirs, [{"round": 1, "iops": 0}], "iops"))

    def test_a_column_of_words_is_not_aligned_as_numbers(self):
        text = report.table(["a", "b", "c"], [["x", "4 KiB", "1.50x (1 - 2)"], ["y", "-", "-"]])
        self.assertEqual(text.splitlines()[1], "|---|---|---:|")

    def test_sizes(self):
        self.assertEqual(session.byte_size("2G"), 2 << 30)
        for text in ("", "G", "0M", "1.5G", "4k", "-1M", "1GiB"):
            with self.assertRaises(Failure):
                session.byte_size(text)


class Areas(unittest.TestCase):
    """Where a stack belongs."""

    KERNEL = "[kernel.kallsyms]"

    def area(self, *frames):
        return areas.area_of(list(frames), "ashlar")

    def test_the_kernel_by_the_first_function_that_tells(self):
        below = [("unix_stream_sendmsg", self.KERNEL), ("io_sendmsg", self.KERNEL)]
        for leaf, area in (
                ("rep_movs_alternative", "kernel: copying"),
                ("try_to_wake_up", "kernel: waking and scheduling"),
                ("__slab_free", "kernel: sockets")):
            self.assertEqual(self.area((leaf, self.KERNEL), *below), area)
        self.assertEqual(self.area(below[1], below[0]), "kernel: io_uring")
        self.assertEqual(
            self.area(("entry_SYSCALL_64", self.KERNEL), ("io_uring_enter", "liburing.so.2")),
            "kernel: the rest")

    def test_our_own_by_module(self):
        for symbol, area in (
                ("$s9NBDServer0A0C4takeyyF", "NBDServer"),
                ("$s7NBDWire7RequestV", "NBDWire: parsing and headers"),
                ("$s4Ring0A7MachineC17pollForCompletionSbyF", areas.POLLING),
                ("$sSo3abc", areas.STANDARD), ("swift_task_switch", areas.CONCURRENCY),
                ("main", areas.OUR_REST)):
            self.assertEqual(self.area((symbol, "/usr/bin/ashlar")), area, symbol)

    def test_libraries(self):
        for library, symbol, area in (
                ("/usr/lib/libswift_Concurrency.so", "x", areas.CONCURRENCY),
                ("/usr/lib/libswiftCore.so", "x", areas.STANDARD),
                ("/lib/libc.so.6", "__memmove_evex", areas.LIBC_COPYING),
                ("/lib/libc.so.6", "pthread_mutex_lock", areas.LIBC),
                ("/lib/libfoo.so", "x", areas.OTHER)):
            self.assertEqual(self.area((symbol, library)), area)

    def test_the_output_of_perf_is_split_into_stacks(self):
        text = ("    7f00 swift::f(int, (anonymous)) (/usr/lib/libswiftCore.so)\n"
                "    ff00 main+0x10 (/usr/bin/ashlar)\n\n  a0 [unknown] ([unknown])\n\n")
        stacks = list(areas.parsed(text))
        self.assertEqual([len(stack) for stack in stacks], [2, 1])
        self.assertEqual(stacks[0][1], ("main", "/usr/bin/ashlar"))
        self.assertEqual(areas.summed(stacks, "ashlar")[0][areas.STANDARD], 1)


class Results(unittest.TestCase):
    """The files that a comparison leaves."""

    def test_json_has_a_line_for_each_entry_and_loses_nothing(self):
        document = {"tool": "a", "runs": [{"iops": 1.5, "b": [1, 2]}] * 3, "machine": {"c": "d"}, "none": [], "no": {}}
        text = report.json_text(document)
        self.assertEqual(json.loads(text), document)
        self.assertEqual(text.count('"iops"'), sum('"iops"' in line for line in text.splitlines()))


class Charts(unittest.TestCase):
    """The picture is XML whatever the names are, and holds a bar for each value."""

    def test_names_are_escaped(self):
        group = chart.Group("a < b", [chart.Bar('"x" & y', (1, None), ("1", "-"), "ours")])
        picture = tree.fromstring(chart.bars('<"&">', "n", ("l", "r"), [group]))
        bars = [e for e in picture.iter() if e.get("class") == "ours"]
        self.assertEqual([float(bar.get("width")) > 0 for bar in bars], [True, False])



class Arrays(unittest.TestCase):
    """What compare-arrays makes of its runs."""

    @staticmethod
    def run_of(contender, work, number, **more):
        return {"round": number, "contender": contender, "work": work, "iops_home": 100.0,
                "mbps_home": 1.0, "op_us": 10.0, **more}

    def judged(self, runs, *targets):
        table = {"arrays": {"targets": list(targets)}}
        return [(t["value"], t["is_reached"]) for t in arrayreport.judged(
            runs, arrayreport.comparisons(runs), table)]

    def test_targets_are_held_against_the_median_of_ratios(self):
        runs = [self.run_of("plain", "randwrite-4k-fsync", number) for number in (1, 2, 3)]
        runs += [self.run_of("ashlar-raid5", "randwrite-4k-fsync", number, op_us=us)
                 for number, us in ((1, 11.0), (2, 12.0), (3, 90.0))]
        about = {"work": "randwrite-4k-fsync", "ours": "ashlar-raid5", "peer": "plain",
                 "measure": "op_us"}
        self.assertEqual(
            self.judged(runs, {**about, "max": 1.25}, {**about, "max": 1.1}),
            [(1.2, True), (1.2, False)])

    def test_a_target_without_a_peer_is_held_against_the_figure(self):
        runs = [self.run_of("ashlar-raid5", "scrub-budget", 1, mbps=5.0, p99_of_budget=0.7)]
        about = {"work": "scrub-budget", "ours": "ashlar-raid5", "measure": "p99_of_budget"}
        self.assertEqual(self.judged(runs, {**about, "max": 1.0}), [(0.7, True)])

    def test_what_was_not_measured_is_not_judged(self):
        runs = [self.run_of("plain", "randwrite-4k-fsync", 1)]
        self.assertEqual(self.judged(runs, {
            "work": "randwrite-4k-fsync", "ours": "ashlar-raid5", "peer": "plain",
            "measure": "op_us", "max": 1.25}), [])

    def test_every_target_names_what_there_is(self):
        table = json.loads(
            (settings.ROOT / "benchmarks/targets.json").read_text(encoding="utf-8"))
        for target in table["arrays"]["targets"]:
            self.assertIn(target["measure"], arrayreport.TARGET_WORDS)
            self.assertIn(target["ours"], arrayreport.BY_KEY)
            self.assertIn(target.get("peer", "dd"), {*arrayreport.BY_KEY, "dd"})
            self.assertNotEqual(arrayreport.title(target["work"]), "")
            self.assertEqual(("min" in target) + ("max" in target), 1)

    def test_members_have_room_for_what_they_hold(self):
        for contender in contenders.ALL:
            each = contenders.member_bytes(contender, 1 << 30)
            self.assertEqual(each % session.BLOCK, 0)
            self.assertGreaterEqual(each * contender.data_count, 1 << 30)
            if contender.kind == "array":
                self.assertGreaterEqual(
                    (each - contenders.LOG_BYTES) * contender.data_count, 1 << 30)

    def test_a_database_takes_about_half_of_a_device(self):
        self.assertEqual([database.scale_of(size) for size in ("384M", "1G")], [3, 10])

if __name__ == "__main__":
    unittest.main()
