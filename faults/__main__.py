"""`python -m faults`: the long run, the same with Salt's stock module, timed leases, and a day of a minion's jobs."""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import sys
from pathlib import Path

from faults import leases, report
from faults.coordinated import Coordinated, coordinated
from faults.minority import Minority, minority
from faults.run import Outcome, Plan, run
from faults.soak import Soaked, soak

OURS = {"ours": 13, "holder": 5, "minion": 2, "kazoo": 2}
SHOWN = 20


def main() -> int:
    """Do what was asked for; 1 if a promise was broken."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is ended on the way out
    seeds = options.seed or [str(random.SystemRandom().randrange(10**6))]
    print(f"seed {' '.join(seeds)}; the same again: python -m faults --seed {' '.join(seeds)}", flush=True)
    outcomes: dict[str, Outcome] = {}
    soaked: Soaked | None = None
    for number, seed in enumerate(seeds if options.seconds else [], 1):
        name = "zkcoord" if len(seeds) == 1 else f"zkcoord {number}"
        outcomes[name] = run(Plan(seed, options.seconds, OURS))
        _show(name, outcomes[name])
    if options.jobs:
        soaked = soak(options.jobs)
        print(f"{soaked.jobs:,} jobs, {soaked.failed} failed", flush=True)
    if options.stock_seconds:
        outcomes["stock"] = run(Plan(seeds[0], options.stock_seconds, {"stock": sum(OURS.values())}))
        _show("stock", outcomes["stock"])
    minorities: list[Minority] = []
    for seed, servers in itertools.product(seeds if options.minority_seconds else [], (3, 5)):
        minorities.append(found := minority(seed, options.minority_seconds, servers))
        print(f"{found.lost[:SHOWN]} lost and {found.failed[:SHOWN]} failed of {found.servers} servers", flush=True)
    grants = [coordinated(seed, options.grants_seconds) for seed in seeds if options.grants_seconds]
    for asked in grants:
        print(f"{len(asked.world.granted):,} grants, {len(asked.violations)} violations, hangs {asked.hangs[:SHOWN]}")
        for it in asked.violations[:SHOWN]:
            print(f"  {it.rule}: {it.unit} at {it.lock} {it.zxid:#x}: {it.what}")
    plans = [leases.Plan(seed, options.lease_seconds, by_name=options.lease_by_name) for seed in seeds]
    held = [leases.run(plan) for plan in plans if plan.seconds]
    took, late = leases.prompt(seeds[0]) if options.lease_seconds else ([], [])
    for found in held:
        print(f"{found.violations[:SHOWN]} and hangs {found.hangs[:SHOWN]} of timed leases")
    text = _figures(outcomes, soaked, minorities, grants) + "".join(f"\n{leases.text_of(found)}\n" for found in held)
    if took:
        text += (
            f"\n{len(took)} holders of timed leases killed, for whom somebody waited: each was taken over at most "
            f"{max(took):.3f} s after its end, {len(late)} of them later than twice the retry period.\n"
        )
    print(text, flush=True)
    if options.figures:
        options.figures.write_text(text)
    ours = [outcome for name, outcome in outcomes.items() if name != "stock"]
    bad = sum(len(report.broken(it)) for it in ours) + sum(len(it.violations) for it in grants)
    hung = sum(report.hung(it, report.OURS) for it in ours) + sum(len(it.hangs) for it in grants)
    errors = sum(report.errors(it, report.OURS) for it in ours)
    lost = sum(len(it.lost) + len(it.failed) for it in minorities)
    bad += sum(len(it.violations) for it in held) + len(late)
    hung += sum(len(it.hangs) for it in held)
    grown = soaked.growth if soaked else {}
    failed = soaked.failed if soaked else 0
    print(
        f"{bad} violations, {hung} hangs, {errors} errors, {failed} failed jobs, grown: {grown or 'nothing'}, "
        f"{lost} leases lost or calls failed under a minority"
    )
    return 1 if bad or hung or errors or failed or grown or lost else 0


def _figures(
    outcomes: dict[str, Outcome], soaked: Soaked | None, minorities: list[Minority], grants: list[Coordinated]
) -> str:
    parts = [report.of_runs(outcomes), report.of_faults(outcomes)] if outcomes else []
    if soaked:
        rate = soaked.jobs / soaked.seconds
        parts += [f"{soaked.jobs:,} jobs, {soaked.failed} failed, {rate:.0f} a second.", report.of_soak(soaked)]
    if minorities:
        parts.append(report.of_minorities(minorities))
    if grants:
        parts.append(report.of_grants(grants))
    return "\n\n".join(parts) + "\n"


def _show(name: str, outcome: Outcome) -> None:
    """Say at once what is wrong, in case that the rest does not come to its end."""
    print(
        f"{name}: {len(outcome.calls):,} calls, {len(outcome.violations):,} violations, "
        f"{len(outcome.hangs)} hangs {outcome.hangs[:SHOWN]}, deaths {dict(outcome.deaths)}"
    )
    for it in outcome.violations[:SHOWN]:
        print(f"  {it.rule}: {it.identifier} at {it.pool} {it.zxid:#x}: {it.what}")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--seed", nargs="+", help="one run for each; a random one if none is given")
    parser.add_argument("--seconds", type=float, default=240, help="of each run of ours; 0 for none")
    parser.add_argument("--stock-seconds", type=float, default=240, help="of the run with the stock module; 0 for none")
    parser.add_argument("--jobs", type=int, default=20_000, help="of the minion; 0 for none")
    parser.add_argument("--minority-seconds", type=float, default=60, help="of each run with a minority broken")
    parser.add_argument("--lease-seconds", type=float, default=300, help="of each run of timed leases; 0 for none")
    parser.add_argument("--lease-by-name", type=float, default=0.7, help="the part of the turns that nobody renews")
    parser.add_argument("--grants-seconds", type=float, default=240, help="of each run of a coordinator; 0 for none")
    parser.add_argument("--figures", type=Path, help="write the tables into this file too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
