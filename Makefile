# Short verbs. Each does its own set-up, says what it does and skips what is there; all that it makes stands under target/.
SHELL := /bin/bash
ifeq ($(origin ROWS),undefined)
bench: ROWS = 1000000
endif
ROWS ?= 10000
PG_CONFIG ?= pg_config
export ROWS PG_CONFIG

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-offsite demo-stop install test test-long test-offsite lint bench package clean

help: ## list these verbs
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|'

setup: ## install what is needed to build and test (Debian packages, cargo-pgrx, private PostgreSQL 15 and 18)
	@scripts/setup

demo: ## start a private PostgreSQL 15 with an application's tables and back them up (ROWS=10000)
	@scripts/demo

demo-offsite: ## the same with copies in a private S3 store: the server is lost and rebuilt from them (ROWS=10000)
	@scripts/demo-offsite

demo-stop: ## stop what the demos started and remove it
	@scripts/demo-stop

install: ## build a release and install it into your own server (PG_CONFIG=pg_config)
	@scripts/install

test: ## test the core, then the extension on PostgreSQL 15 and 18
	@scripts/test

test-long: ## the same with every crash point, ten million rows and the soaks
	@scripts/test --long

test-offsite: ## test copies against the S3 store Garage, on one node and on three (builds Garage once, twelve minutes)
	@scripts/test-offsite

lint: ## formatting, clippy for PostgreSQL 15 and 18, file lengths, shell scripts
	@scripts/lint

bench: ## compare with pg_dump, COPY and a shell script (ROWS=1000000 RUNS=5; BENCH_LARGE=1 adds ten times the rows)
	@scripts/bench

package: ## make target/package/postgresql-15-agent-backup_….deb
	@scripts/package

clean: ## stop our servers and remove what these verbs made
	@scripts/clean
