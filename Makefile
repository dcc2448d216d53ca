# The verbs of daily work; everything runs in .venv.
.PHONY: setup test quick lint format bench bench-replay screenshots demo

setup:   ## make .venv with the development tools
	sh .ci/venv dev

test:    ## all tests, with what they need
	sh tests/run

quick:   ## tests that take no real processes
	.venv/bin/python -m pytest -m "not slow and not system"

lint:    ## what CI checks besides tests
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports

format:
	.venv/bin/ruff check --fix . && .venv/bin/ruff format .

bench:   ## speed, side by side with its limits and peers
	.venv/bin/python benchmarks/load_driver.py
	.venv/bin/python benchmarks/startup.py
	.venv/bin/python benchmarks/reader.py
	.venv/bin/python benchmarks/compare.py
	.venv/bin/python benchmarks/chart.py
	.venv/bin/python benchmarks/console_start.py
	.venv/bin/python benchmarks/console_live.py
	.venv/bin/python benchmarks/console_keys.py
	.venv/bin/python benchmarks/grid_keys.py
	.venv/bin/python benchmarks/compare_keys.py

bench-replay:  ## opening and seeking in 5 M events: three minutes, 2 GB of disk
	.venv/bin/python benchmarks/replay.py

screenshots:   ## the pictures of the README, from a session on the embedded cluster; five minutes
	.venv/bin/python docs/make_screenshots.py

demo:    ## the main job on the embedded cluster, about two minutes
	.venv/bin/pdconsole run pd-ratio-sweep --quick
