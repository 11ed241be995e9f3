# Every word that CI says, a person can say at a desk. `make` alone lists them.
#
# The scripts under scripts/ install on Debian what a word needs; what they cannot bring, a Rust toolchain or
# root, they ask for in one line.

PREFIX ?= /usr/local
IMAGE ?=
export PREFIX IMAGE

.PHONY: help demo test test-vm bench lint install fixtures clean

help:
	@echo 'make demo [IMAGE=alpine]   build rbox, run a published container, show its rules, leave nothing behind'
	@echo 'make test                  every test of this machine, and of a cgroup v2 machine in a VM'
	@echo 'make test-vm               the VM lane alone'
	@echo 'make bench                 ratios against docker.io, crun, runc'
	@echo 'make lint                  formatting and clippy, warnings are errors'
	@echo 'make install PREFIX=DIR    programs, man pages, completions'
	@echo 'make fixtures              the images that tests and demo run'
	@echo 'make clean                 remove what was built'

demo:
	@scripts/demo

test:
	@scripts/test

test-vm:
	@scripts/vm

bench:
	@benches/run

lint:
	@scripts/lint

install:
	@scripts/install

fixtures:
	@scripts/fixtures

clean:
	@scripts/clean
