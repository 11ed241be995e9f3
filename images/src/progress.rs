//! What a person sees of a pull: bars on a terminal, else plain lines, in Docker's words.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr, stdout};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Progress {
    /// Nowhere.
    Quiet,
    /// On standard output, as `docker pull`.
    #[default]
    Stdout,
    /// On standard error, as `docker run`, whose standard output belongs to the container.
    Stderr,
}

/// The display of one pull.
pub(crate) struct Screen {
    to: Progress,
    bars: Option<MultiProgress>,
}

/// One layer's row.
pub(crate) struct Row {
    name: String,
    to: Progress,
    bar: Option<ProgressBar>,
}

impl Screen {
    pub(crate) fn new(to: Progress) -> Self {
        // No ticker: it would be a thread.
        let bars = match to {
            Progress::Stdout if stdout().is_terminal() => Some(ProgressDrawTarget::stdout()),
            Progress::Stderr if stderr().is_terminal() => Some(ProgressDrawTarget::stderr()),
            _ => None,
        };
        Screen { to, bars: bars.map(MultiProgress::with_draw_target) }
    }

    /// A line that stays.
    pub(crate) fn line(&self, text: impl Display) {
        match &self.bars {
            // What cannot be shown must not end the pull.
            Some(bars) => drop(bars.println(text.to_string())),
            None => print(self.to, &text.to_string()),
        }
    }

    /// A row for the layer `name` of `size` bytes.
    pub(crate) fn row(&self, name: &str, size: u64) -> Row {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(size));
            bar.set_style(ProgressStyle::with_template("{prefix}: {msg}").expect("the template is valid"));
            bar.set_prefix(name.to_owned());
            bar
        });
        Row { name: name.to_owned(), to: self.to, bar }
    }
}

impl Row {
    /// What happens to the layer now, in Docker's words.
    pub(crate) fn state(&self, state: &str) {
        match &self.bar {
            Some(bar) if state == "Downloading" => {
                let template = "{prefix}: {msg} [{bar:50}] {bytes}/{total_bytes}";
                let style =
                    ProgressStyle::with_template(template).expect("the template is valid").progress_chars("=> ");
                bar.set_style(style);
                bar.set_message("Downloading");
            }
            Some(bar) => {
                bar.set_style(ProgressStyle::with_template("{prefix}: {msg}").expect("the template is valid"));
                bar.set_message(state.to_owned());
                bar.tick();
            }
            // A log has one line for each step, not for each state of the bar.
            None if state == "Downloading" => {}
            None => print(self.to, &format!("{}: {state}", self.name)),
        }
    }

    /// That many bytes are here.
    pub(crate) fn at(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
    }

    /// The last state; the row stays.
    pub(crate) fn done(&self, state: &str) {
        self.state(state);
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

fn print(to: Progress, line: &str) {
    // A closed pipe must not end the pull.
    let _ = match to {
        Progress::Quiet => Ok(()),
        Progress::Stdout => writeln!(stdout(), "{line}"),
        Progress::Stderr => writeln!(stderr(), "{line}"),
    };
}
