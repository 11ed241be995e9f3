//! How the child says what it does: a record in the shared page, and eight bytes when a step fails.

use super::hook::{LastWords, run as run_hook};
use crate::plan::{BadEnd, InitHookList, Plan};
use crate::steps::Step;
use crate::sync::Report;
use crate::sys;
use crate::sys::shared::{Noted, SharedPage};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Exit status of a child that could not become the program; nobody sees it but wait(2).
const FAILED: i32 = 1;

/// The child's voice.
pub(super) struct Reporter<'a> {
    /// Where a failure is reported: the channel, or after the gate the connection of `start`.
    pub(super) channel: BorrowedFd<'a>,
    pub(super) trace: Option<&'a SharedPage>,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(plan: &'a Plan, channel: BorrowedFd<'a>) -> Reporter<'a> {
        Reporter { channel, trace: plan.trace.as_ref() }
    }

    /// Do one step; a failure is reported and ends this process.
    pub(super) fn step<T>(&self, step: Step, act: impl FnOnce() -> io::Result<T>) -> T {
        self.nth(step, 0, act)
    }

    /// As [`Reporter::step`], for the step that is done to the `index`th mount, device, path …
    pub(super) fn nth<T>(&self, step: Step, index: usize, act: impl FnOnce() -> io::Result<T>) -> T {
        let began_ns = if self.trace.is_some() { sys::process::monotonic_ns() } else { 0 };
        let answer = act();
        let errno = answer.as_ref().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EINVAL));
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        if let Some(page) = self.trace {
            let took_ns = sys::process::monotonic_ns().saturating_sub(began_ns);
            page.note(Noted { step: step as u16, index, errno, took_ns }, began_ns);
        }
        match answer {
            Ok(value) => value,
            Err(_) => self.fail(Report { step: step as u16, index, errno }),
        }
    }

    /// As [`Reporter::nth`] for what only prepares the step: it is reported when it fails, and not told when it does not.
    pub(super) fn quietly<T>(&self, step: Step, index: usize, act: impl FnOnce() -> io::Result<T>) -> T {
        let answer = act();
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        answer.unwrap_or_else(|error| {
            self.fail(Report { step: step as u16, index, errno: error.raw_os_error().unwrap_or(libc::EINVAL) })
        })
    }

    /// Run the hooks of one kind, each as a step. A failure is reported with the hook's last words.
    pub(super) fn hooks(&self, step: Step, list: &InitHookList) {
        let Some(state) = &list.state else { return };
        for (index, hook) in list.hooks.iter().enumerate() {
            let mut words = LastWords::new();
            let began_ns = if self.trace.is_some() { sys::process::monotonic_ns() } else { 0 };
            let ended = run_hook(hook, state.as_fd(), None, &mut words);
            let errno = ended.err().map_or(0, BadEnd::to_number);
            let index = u16::try_from(index).unwrap_or(u16::MAX);
            if let Some(page) = self.trace {
                let took_ns = sys::process::monotonic_ns().saturating_sub(began_ns);
                page.note(Noted { step: step as u16, index, errno, took_ns }, began_ns);
            }
            if errno != 0 {
                let _ = sys::file::write_all(self.channel, &Report { step: step as u16, index, errno }.to_bytes());
                let _ = sys::file::write_all(self.channel, words.bytes());
                sys::process::exit(FAILED)
            }
        }
    }

    /// Tell the parent, and end.
    pub(super) fn fail(&self, report: Report) -> ! {
        // Nobody to tell: then there is nothing left to do but to end.
        let _ = sys::file::write_all(self.channel, &report.to_bytes());
        sys::process::exit(FAILED)
    }
}
