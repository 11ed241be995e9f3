//! `rbox exec`: a further program in a running container.

mod streams;

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use oci_spec::runtime::{Process, Spec};

use rbox_runtime::console;
use rbox_runtime::container::{self, Container, Ties};
use rbox_runtime::terminal::Signals;

use super::Stdio;
use super::run::bundle::resolve_user;
use crate::cli::{ExecArgs, Global};
use crate::creation::{self, Creation};
use crate::dirs::Dirs;
use crate::find::{find_running, refusal};
use crate::report::{self, INCOMPLETE, NOT_EXECUTABLE, Problem};
use crate::{spec, sweep};
use streams::Inside;

/// `rbox exec`. The exit code is the program's; 126 and 127 as those of `run`, 1 where no program was tried.
///
/// Errors: there is no such container, or it does not run.
pub(crate) fn run(global: &Global, args: &ExecArgs) -> Result<ExitCode> {
    let dirs = Dirs::new(global)?;
    let [typed, command @ ..] = args.words.as_slice() else { return Err(missing("CONTAINER").into()) };
    if command.is_empty() {
        return Err(missing("COMMAND").into());
    }
    // What is no container of a living rbox any more must not be taken for one that runs.
    sweep::sweep(&dirs, &dirs.networks()?).iter().for_each(report::warn);
    let stdio = Stdio::of_the_caller();
    if !args.detach && args.tty && args.interactive {
        stdio.check_terminal()?;
    }
    let caller = |name: &str| std::env::var(name).ok();
    let variables = spec::read_environment(&args.env_file, &args.env, caller)?;
    let (record, container) = find_running(&dirs, typed, "exec in")?;
    let made = Creation::load(&dirs, &record.id)?;
    let made = made.with_context(|| format!("cannot exec in container {typed}: its record lacks how it was made"))?;
    let attempt = Attempt { dirs: &dirs, args, command, container: &container, made: &made, variables };
    let code = if args.detach { attempt.alone() } else { attempt.attached(&stdio) };
    // It has ended, or was paused, since it was found.
    if let Err(Some(rbox_runtime::Error::WrongStatus { have, .. })) = code.as_ref().map_err(anyhow::Error::downcast_ref)
    {
        return Err(refusal(typed, "exec in", *have).into());
    }
    Ok(code.unwrap_or_else(|error| match args.detach {
        // Nobody waits for the program's code, so there is only success and failure.
        true => report::print_failure(&error, INCOMPLETE),
        false => report::print_with(&error, NOT_EXECUTABLE),
    }))
}

fn missing(word: &str) -> Problem {
    Problem::new(format!("{word} is missing")).hint("see rbox exec --help").code(INCOMPLETE)
}

/// One program that is to be run in one container.
struct Attempt<'a> {
    dirs: &'a Dirs,
    args: &'a ExecArgs,
    command: &'a [String],
    container: &'a Container,
    made: &'a Creation,
    variables: Vec<String>,
}

impl Attempt<'_> {
    /// Run it to its end, between the caller's terminal or pipes and its own.
    fn attached(&self, stdio: &Stdio) -> Result<ExitCode> {
        let mut process = self.process()?;
        process.set_console_size(stdio.size(self.args.tty, self.args.interactive));
        let (inside, mut ties) = Inside::new(self.args, process.user().uid())?;
        // Held from here on, so that none is lost. One that is to end rbox ends the attempt too, until there is a
        // program to pass it on to: what enters a container can be stopped by it.
        let signals = Signals::hold(true).context("cannot hold signals back")?;
        ties.interrupt = Some(signals.ending().context("cannot hold signals back")?);
        let extra = self.container.exec(&process, ties)?;
        // Only now is the terminal made raw: until here Ctrl-C was a signal.
        let session = inside.begin(self.args, stdio, signals).inspect_err(|_| {
            // The first error is the one to report.
            let _ = container::signal(extra.pidfd(), Signal::SIGKILL as i32);
        })?;
        session.carry(extra.pidfd())?;
        let code = extra.wait()?.code();
        Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
    }

    /// Start it and leave it.
    fn alone(&self) -> Result<ExitCode> {
        let process = self.process()?;
        if self.args.tty {
            let (theirs, ours) = console::pair()?;
            let extra = self.container.exec(&process, Ties { console: Some(theirs), ..Ties::default() })?;
            console::keep(&console::receive(&ours)?, extra.pidfd())?;
            return Ok(ExitCode::SUCCESS);
        }
        let null = || -> Result<Option<OwnedFd>> {
            let file = OpenOptions::new().read(true).write(true).open("/dev/null").context("cannot open /dev/null")?;
            Ok(Some(file.into()))
        };
        self.container.exec(&process, Ties { stdio: [null()?, null()?, null()?], ..Ties::default() })?;
        Ok(ExitCode::SUCCESS)
    }

    /// The container's own process with the flags laid over it (moby `daemon/exec_linux.go`).
    fn process(&self) -> Result<Process> {
        let bundle = self.dirs.container(self.container.id());
        let spec = Spec::load(bundle.join("config.json")).context("cannot read the container's config.json")?;
        let mut process = spec.process().clone().context("config.json: it has no process")?;
        process.set_args(Some(self.command.to_vec()));
        process.set_terminal(Some(self.args.tty));
        let mut environment = spec::environment(self.made.text("Hostname"), self.args.tty, &self.made.list("Env"));
        self.variables.iter().for_each(|variable| spec::replace_or_append(&mut environment, variable));
        process.set_env(Some(environment));
        let directory = self.args.workdir.as_deref().filter(|directory| !directory.is_empty());
        let directory = directory.unwrap_or_else(|| self.made.text("WorkingDir"));
        process.set_cwd(if directory.is_empty() { "/" } else { directory }.into());
        let user = self.args.user.as_deref().unwrap_or_else(|| self.made.text("User"));
        process.set_user(resolve_user(&self.container.root()?, user, &self.made.host_list("GroupAdd"))?);
        if self.args.privileged {
            if creation::is_guarded(self.dirs, self.container.id())? {
                let (name, hint) = (&self.args.words[0], "with its capabilities the program could take the rules out");
                let message = format!("cannot exec in container {name} with --privileged: its network has --egress");
                return Err(Problem::new(message).hint(hint).into());
            }
            process.set_capabilities(Some(spec::all_capabilities()));
        }
        Ok(process)
    }
}
