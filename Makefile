# Every target is a script of tests/lab: each of them says at its head what it does and needs.
.PHONY: help demo demo-stop transcript test bench side-by-side faults fuzz deb deb-test lint clean

help:
	@echo 'make demo        start a PostgreSQL, a Barman and barmanapi, and show a backup over HTTP (REMOTE=1: with Barman reached over SSH)'
	@echo 'make demo-stop   stop what make demo started and remove it'
	@echo 'make transcript  run the demo and write what it showed into README.md'
	@echo 'make test        every test, on a real Barman that is brought up and taken down (KEEP_LAB=1: left up)'
	@echo 'make bench       the measurements, written into share/doc/BENCHMARKS.md'
	@echo 'make side-by-side  the same requests to pg-backup-api, which is fetched for it, and to barmanapi: what each answers'
	@echo 'make faults      break things on purpose, up to 30 minutes, and write what was lost into share/doc/FAULTS.md'
	@echo 'make fuzz        any bytes for a minute at each reader of texts (a nightly compiler)'
	@echo 'make deb         a Debian package, in .lab/package'
	@echo 'make deb-test    the same, and try it in a Debian of its own (root or sudo)'
	@echo 'make lint        format, lints, dependencies'
	@echo 'make clean       remove what was built'

demo:
	@REMOTE='$(REMOTE)' tests/lab/demo.sh

demo-stop:
	@tests/lab/demo.sh --stop

transcript:
	@tests/lab/demo.sh --transcript README.md

test:
	@tests/lab/test.sh

bench:
	@test -x tests/lab/bench.sh || { echo 'failed: tests/lab/bench.sh is missing' >&2; exit 1; }
	@tests/lab/bench.sh

side-by-side:
	@tests/lab/side-by-side.sh

faults:
	@tests/lab/faults.sh

fuzz:
	@tests/lab/fuzz.sh

deb:
	@tests/lab/deb.sh

deb-test:
	@tests/lab/deb.sh --try

lint:
	@tests/lab/lint.sh

clean:
	rm -rf target
