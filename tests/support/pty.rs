//! A real terminal for a program: open it, type, read what appears, change its size.

use super::host::Host;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{Termios, tcgetattr};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The keyboard and screen side of a terminal, and the program on the other side.
pub(crate) struct Pty {
    master: OwnedFd,
    slave: OwnedFd,
    pub(crate) child: Child,
    screen: String,
}

impl Pty {
    /// Start a program of the host on a new terminal of `rows` by `columns`; it is the leader of its own session.
    pub(crate) fn spawn(host: &Host, rows: u16, columns: u16, program: &str, args: &[&str]) -> Pty {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        // A program that held the other side of its own terminal would never see it go.
        for side in [&master, &slave] {
            fcntl(side, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let mut command = Command::new("setsid");
        let inner = host.command(program, args);
        command.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args());
        command.env_clear().envs(inner.get_envs().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))));
        let side = || Stdio::from(slave.try_clone().unwrap());
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        Pty { master, slave, child, screen: String::new() }
    }

    /// Start `rbox ARGS` on a terminal of 24 by 80.
    pub(crate) fn rbox(host: &Host, args: &[&str]) -> Pty {
        Pty::rbox_sized(host, (24, 80), args)
    }

    /// Start `rbox ARGS` on a terminal of so many rows and columns.
    pub(crate) fn rbox_sized(host: &Host, (rows, columns): (u16, u16), args: &[&str]) -> Pty {
        let words = host.rbox_words(args);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Pty::spawn(host, rows, columns, &super::rbox().display().to_string(), &words)
    }

    /// The window is closed: nobody holds the keyboard and the screen any more. The command, which `words` tell apart from
    /// others of the host, is not killed; it has to end by itself.
    #[track_caller]
    pub(crate) fn vanish(mut self, host: &Host, words: &str) {
        let nowhere = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        drop((std::mem::replace(&mut self.slave, nowhere()), std::mem::replace(&mut self.master, nowhere())));
        let count = format!("pgrep -fc -- '^[^ ]*rbox .*{words}'");
        let end = Instant::now() + Duration::from_secs(60);
        while host.shell(&count).stdout.trim() != "0" {
            assert!(Instant::now() < end, "it stays without its terminal; the screen was:\n{}", self.screen);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Type.
    pub(crate) fn send(&self, keys: &str) {
        nix::unistd::write(&self.master, keys.as_bytes()).unwrap();
    }

    /// Read the screen until `words` appear after what was read before; returns what was read now.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, words: &str) -> String {
        let from = self.screen.len();
        let end = Instant::now() + Duration::from_secs(20);
        while !self.screen[from..].contains(words) {
            assert!(
                Instant::now() < end && self.read_more(),
                "`{words}` never appeared on the screen:\n{}",
                self.screen
            );
        }
        self.screen[from..].to_owned()
    }

    /// Read what there is within 100 ms; false when the other side has closed the terminal.
    fn read_more(&mut self) -> bool {
        let mut ready = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, PollTimeout::from(100_u8)).unwrap_or(0) == 0 {
            return true;
        }
        let mut buffer = [0_u8; 4096];
        match nix::unistd::read(&self.master, &mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                self.screen += &String::from_utf8_lossy(&buffer[..length]);
                true
            }
        }
    }

    /// Set the size; the kernel sends SIGWINCH to the terminal's foreground processes. stty(1) does it: nix has no call.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let size = ["rows", &rows.to_string(), "cols", &columns.to_string()].map(str::to_owned);
        let status = Command::new("stty").args(size).stdin(Stdio::from(self.slave.try_clone().unwrap())).status();
        assert!(status.unwrap().success());
    }

    /// The terminal's settings: echo, raw mode.
    pub(crate) fn settings(&self) -> Termios {
        tcgetattr(&self.slave).unwrap()
    }

    /// Wait for the program's end and return its exit code and the whole screen.
    #[track_caller]
    pub(crate) fn wait(mut self) -> (i32, String) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut ready = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
                while poll(&mut ready, PollTimeout::ZERO).unwrap_or(0) > 0 && self.read_more() {
                    ready = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
                }
                return (super::output::code_of(status), std::mem::take(&mut self.screen));
            }
            self.read_more();
            assert!(Instant::now() < end, "the program on the terminal did not end:\n{}", self.screen);
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
