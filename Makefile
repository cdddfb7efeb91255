# Each verb is one line that calls a script; `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help run test check format bench chaos simulate schemas lock environment
IN := .venv/bin

help:         ## list the verbs
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

run: environment        ## start everything and show what an event causes; Ctrl-C stops it
	@$(IN)/upshot run

test: environment       ## run the tests; brings up what they need by itself
	@$(IN)/python -m services.stack.jars && $(IN)/pytest $(ARGS)

check: environment      ## format, lint, types, imports, dead code, dependencies, spelling, tidiness
	@.ci/check

format: environment     ## rewrite the code as `check` wants it
	@$(IN)/ruff format && $(IN)/ruff check --fix-only --exit-zero

bench: environment      ## measure against peers, print the ratios, write BENCHMARKS.md
	@$(IN)/python -m tests.benchmarks --write $(ARGS)

chaos: environment      ## kill and freeze processes under load, then look for what was lost
	@$(IN)/pytest -m long tests/chaos $(ARGS)

simulate: environment   ## run the kernel through seeded faults: SEEDS=1..10000, or SEED=7 step by step
	@$(IN)/python -m tests.simulation $(or $(SEED),$(SEEDS),1..1000)

schemas: environment    ## write the generated documents under contracts/schemas
	@$(IN)/python -m services.api.schemas

lock: environment       ## bring uv.lock in line with pyproject.toml
	@$(IN)/python .ci/lock.py $(ARGS)

environment:            ## make .venv from uv.lock (the other verbs do it by themselves)
	@.ci/environment
