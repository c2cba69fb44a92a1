# make demo        the phone with its own small exchange, on http://127.0.0.1
# make test        the tests, against a real Asterisk and a real browser
# make test-peers  the tests against third parties' programs
# make check       format, lint, types, architecture
# make fuzz        damaged input for every parser and for a running call, 20 s of each kind
# make soak        two minutes of calls, floods, dead peers and kills: nothing grows or is lost
# make wheel       a wheel of this platform in dist/, whose pure parts are compiled by mypyc
# make test-compiled  the pure tests on the compiled build, or ARGS="tests/asterisk" on it
# make screenshots the pictures of README.md, in docs/pictures
# make docs        the documentation as a site, in site/
# make bench       Spech beside other programs, in turns; writes docs/performance.md (40 minutes)
# make bench-check the cost of a call in exact counts, compared with bench/costs.json
# make bench-check-compiled  the same of the compiled build, in processor instructions
#
# Each first installs what is missing; see tools/setup.sh.
# Arguments: make test ARGS="tests/sip -k invite", make demo ARGS="--port 9000".

.PHONY: demo test test-peers test-compiled check bench bench-check bench-check-compiled wheel docs fuzz soak screenshots format

demo:
	@tools/setup.sh demo
	@exec .venv/bin/spech demo $(ARGS)

test:
	@tools/test.sh $(ARGS)

test-peers:
	@tools/test.sh peers $(ARGS)

check:
	@tools/setup.sh check
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports
	tools/frontend/node_modules/.bin/biome check --config-path=tools/frontend frontend
	tools/frontend/node_modules/.bin/tsc --project tools/frontend

bench:
	@tools/setup.sh peers
	.venv/bin/python -m bench $(ARGS)

bench-check:
	@tools/setup.sh check
	.venv/bin/python -m bench.costs $(ARGS)

bench-check-compiled:
	@tools/setup.sh instructions
	@tools/wheel.sh costs $(ARGS)

wheel:
	@tools/setup.sh check
	@tools/wheel.sh

test-compiled:
	@tools/setup.sh check
	@tools/wheel.sh test $(ARGS)

docs:
	@tools/setup.sh docs
	@tools/site/build.sh

fuzz:
	@tools/fuzz.sh $(ARGS)

soak:
	@tools/setup.sh check
	.venv/bin/python -m bench.soak --minutes 2 $(ARGS)

screenshots:
	@tools/setup.sh test
	.venv/bin/python -m tools.screenshots

format:
	@tools/setup.sh check
	.venv/bin/ruff format
	.venv/bin/ruff check --fix
	tools/frontend/node_modules/.bin/biome check --write --config-path=tools/frontend frontend
