//! The verbs that do something: each is one thing a test wants to see allowed, refused or limited.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, waitpid};
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, Instant};

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

fn words(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |errno| format!("{:?}", nix::errno::Errno::from_raw(errno)))
}

/// Say `ready`, then sleep.
pub(crate) fn sleep(seconds: &str) -> Result<u8, String> {
    let seconds = number(seconds)?;
    ready();
    std::thread::sleep(Duration::from_secs_f64(seconds));
    Ok(0)
}

fn ready() {
    println!("ready");
    let _ = std::io::stdout().flush();
}

/// Say `ready`, print each signal that arrives, and end with 0 at SIGTERM or at the signals named.
pub(crate) fn signal_wait(names: &[&str]) -> Result<u8, String> {
    let mut last =
        names.iter().map(|name| Signal::from_str(name)).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    if last.is_empty() {
        last.push(Signal::SIGTERM);
    }
    let set: SigSet = Signal::iterator().filter(|s| !matches!(s, Signal::SIGKILL | Signal::SIGSTOP)).collect();
    set.thread_block().map_err(|e| e.to_string())?;
    ready();
    loop {
        let signal = set.wait().map_err(|e| e.to_string())?;
        println!("{signal}");
        let _ = std::io::stdout().flush();
        if last.contains(&signal) {
            return Ok(0);
        }
    }
}

/// Be the first process of a test's private host: take in orphans, and end when standard input is closed.
pub(crate) fn hold() -> Result<u8, String> {
    take_in_orphans();
    ready();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(0)
}

/// Be the first process of a pod: take in orphans, and end when asked to.
pub(crate) fn pause() -> Result<u8, String> {
    take_in_orphans();
    signal_wait(&["SIGTERM", "SIGINT"])
}

fn take_in_orphans() {
    std::thread::spawn(|| {
        loop {
            if waitpid(None, Some(WaitPidFlag::empty())).is_err() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    });
}

/// Start another program of the container and pass its exit code on.
pub(crate) fn spawn(rest: &[&str]) -> Result<u8, String> {
    let (program, args) = rest.split_first().ok_or("spawn what?")?;
    let status = Command::new(program).args(args).status().map_err(|e| words(&e))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

/// Print a file.
pub(crate) fn read(path: &str) -> Result<u8, String> {
    let bytes = fs::read(path).map_err(|e| words(&e))?;
    std::io::stdout().write_all(&bytes).map_err(|e| words(&e))?;
    Ok(0)
}

/// Write a text to a file; the errno's name is printed when that is refused.
pub(crate) fn write(path: &str, text: &str) -> Result<u8, String> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|e| words(&e))?;
    println!("ok");
    Ok(0)
}

/// Open for reading and say how that went: `ok`, or the errno's name.
pub(crate) fn open(path: &str) -> Result<u8, String> {
    OpenOptions::new().read(true).open(path).map_err(|e| words(&e))?;
    println!("ok");
    Ok(0)
}

/// Make a device node.
pub(crate) fn mknod(path: &str, kind: &str, major: &str, minor: &str) -> Result<u8, String> {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let kind = if kind == "b" { SFlag::S_IFBLK } else { SFlag::S_IFCHR };
    let device = makedev(number(major)?, number(minor)?);
    mknod(path, kind, Mode::from_bits_truncate(0o666), device).map_err(|e| format!("{e:?}"))?;
    println!("ok");
    Ok(0)
}

/// Take so much memory and touch every page of it.
pub(crate) fn alloc(mebibytes: &str) -> Result<u8, String> {
    let size = number::<usize>(mebibytes)? << 20;
    let mut memory = vec![0_u8; size];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    println!("{}", std::hint::black_box(&memory).len());
    Ok(0)
}

/// Use the processor for so long, and print the share of one processor that was to be had.
pub(crate) fn spin(seconds: &str) -> Result<u8, String> {
    let length = Duration::from_secs_f64(number(seconds)?);
    let began = Instant::now();
    while began.elapsed() < length {
        std::hint::spin_loop();
    }
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).map_err(|e| e.to_string())?;
    let (user, system) = (usage.user_time(), usage.system_time());
    let used = (user.tv_sec() * 1_000_000 + user.tv_usec()) + (system.tv_sec() * 1_000_000 + system.tv_usec());
    println!(
        "{}",
        json!({ "used_us": used, "elapsed_us": u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX) })
    );
    Ok(0)
}

/// Start so many sleeping children, print how many came to be and what stopped it, and end them again.
pub(crate) fn fork_bomb(count: &str) -> Result<u8, String> {
    let mut children = Vec::new();
    let mut refused = Value::Null;
    for _ in 0..number::<u32>(count)? {
        match Command::new("/proc/self/exe").args(["sleep", "60"]).stdout(std::process::Stdio::null()).spawn() {
            Ok(child) => children.push(child),
            Err(error) => {
                refused = json!(words(&error));
                break;
            }
        }
    }
    println!("{}", json!({ "started": children.len(), "refused": refused }));
    for mut child in children {
        let _ = child.kill();
        let _ = child.wait();
    }
    Ok(0)
}

/// Open descriptors until that is refused.
pub(crate) fn exhaust() -> Result<u8, String> {
    let mut open = Vec::new();
    let error = loop {
        match fs::File::open("/") {
            Ok(file) => open.push(file),
            Err(error) => break error,
        }
    };
    println!("{}", json!({ "opened": open.len(), "refused": words(&error) }));
    Ok(0)
}

/// Which of the three standard descriptors is a terminal, its name and (by stty's way) its settings.
pub(crate) fn terminal() -> Value {
    let stdin = std::io::stdin();
    let size = nix::sys::termios::tcgetattr(stdin.as_fd()).is_ok().then(|| {
        let out = Command::new("/bin/stty").arg("size").stdin(std::process::Stdio::inherit()).output().ok()?;
        Some(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    });
    json!({
        "stdin": nix::unistd::isatty(stdin.as_fd()).unwrap_or(false),
        "stdout": nix::unistd::isatty(std::io::stdout().as_fd()).unwrap_or(false),
        "stderr": nix::unistd::isatty(std::io::stderr().as_fd()).unwrap_or(false),
        "name": fs::read_link("/proc/self/fd/0").map(|path| path.display().to_string()).ok(),
        "size": size.flatten(),
        "controlling": OpenOptions::new().read(true).open("/dev/tty").is_ok(),
    })
}
