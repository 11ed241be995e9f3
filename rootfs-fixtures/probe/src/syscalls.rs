//! Calls that a container may or may not make. Each is made with harmless arguments, and its errno is printed.

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType};
use serde_json::{Map, Value, json};

/// One attempt by its name.
type Attempt = (&'static str, fn() -> nix::Result<()>);

/// Try the calls of these names: `{"mount": "EPERM", "socket": "ok"}`.
pub(crate) fn try_all(names: &[&str]) -> Value {
    let mut answers = Map::new();
    for name in names {
        let attempt = ATTEMPTS.iter().find(|(known, _)| known == name);
        let answer = attempt.map_or("unknown".to_owned(), |(_, attempt)| match attempt() {
            Ok(()) => "ok".to_owned(),
            Err(errno) => format!("{errno:?}"),
        });
        answers.insert((*name).to_owned(), json!(answer));
    }
    answers.into()
}

fn socket(family: AddressFamily, kind: SockType) -> nix::Result<()> {
    nix::sys::socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, None).map(drop)
}

fn io(result: std::io::Result<()>) -> nix::Result<()> {
    result.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

const ATTEMPTS: &[Attempt] = &[
    ("getpid", || {
        let _ = nix::unistd::getpid();
        Ok(())
    }),
    ("mkdir", || io(std::fs::create_dir("/tmp/probe-mkdir"))),
    ("chmod", || io(std::fs::set_permissions("/tmp", std::os::unix::fs::PermissionsExt::from_mode(0o1777)))),
    ("chown", || nix::unistd::chown("/tmp", Some(1.into()), None)),
    ("chroot", || nix::unistd::chroot("/tmp")),
    ("mount", || nix::mount::mount(Some("none"), "/tmp", Some("tmpfs"), MsFlags::empty(), None::<&str>)),
    ("remount-root-rw", || {
        nix::mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_BIND, None::<&str>)
    }),
    ("umount", || nix::mount::umount("/proc")),
    ("umount-kcore", || nix::mount::umount("/proc/kcore")),
    ("pivot_root", || nix::unistd::pivot_root("/tmp", "/tmp")),
    ("unshare-user", || nix::sched::unshare(CloneFlags::CLONE_NEWUSER)),
    ("unshare-net", || nix::sched::unshare(CloneFlags::CLONE_NEWNET)),
    ("unshare-mnt", || nix::sched::unshare(CloneFlags::CLONE_NEWNS)),
    ("sethostname", || nix::unistd::sethostname("taken")),
    ("reboot", || nix::sys::reboot::set_cad_enabled(false)),
    ("acct", nix::unistd::acct::disable),
    ("init_module", || nix::kmod::init_module(b"not a module", c"")),
    ("delete_module", || nix::kmod::delete_module(c"no_such_module", nix::kmod::DeleteModuleFlags::O_NONBLOCK)),
    ("personality", || nix::sys::personality::set(nix::sys::personality::Persona::READ_IMPLIES_EXEC).map(drop)),
    ("ptrace", || nix::sys::ptrace::attach(nix::unistd::Pid::from_raw(i32::MAX))),
    ("setuid", || nix::unistd::setuid(12345.into())),
    ("setgid", || nix::unistd::setgid(12345.into())),
    ("socket-raw", || {
        let kind = SockType::Raw;
        nix::sys::socket::socket(
            AddressFamily::Inet,
            kind,
            SockFlag::SOCK_CLOEXEC,
            nix::sys::socket::SockProtocol::Icmp,
        )
        .map(drop)
    }),
    ("socket-tcp", || socket(AddressFamily::Inet, SockType::Stream)),
    ("socket-vsock", || socket(AddressFamily::Vsock, SockType::Stream)),
    ("socket-unix", || socket(AddressFamily::Unix, SockType::Stream)),
    ("bind-80", || io(std::net::TcpListener::bind("0.0.0.0:80").map(drop))),
    ("thread", || io(std::thread::Builder::new().spawn(|| ()).map(|thread| drop(thread.join())))),
    ("raise-nofile", || nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 1 << 19, 1 << 19)),
];

/// Make calls with arguments that are named, on standard input, which is /dev/null: `fadvise64:1:-1` answers `["EINVAL"]`.
pub(crate) fn make_all(calls: &[&str]) -> Result<Value, String> {
    let answer = |call: &&str| match make(call)? {
        Ok(()) => Ok(json!("ok")),
        Err(errno) => Ok(json!(format!("{errno:?}"))),
    };
    calls.iter().map(answer).collect::<Result<Vec<_>, String>>().map(Value::from)
}

fn make(call: &str) -> Result<nix::Result<()>, String> {
    let mut words = call.split(':');
    let name = words.next().unwrap_or_default();
    let numbers = words.map(|word| word.parse().map_err(|_| format!("{word} is not a number")));
    let numbers: Vec<i64> = numbers.collect::<Result<_, _>>()?;
    let input = std::io::stdin();
    Ok(match (name, numbers.as_slice()) {
        ("lseek", [offset]) => nix::unistd::lseek(&input, *offset, nix::unistd::Whence::SeekSet).map(drop),
        ("ftruncate", [length]) => nix::unistd::ftruncate(&input, *length),
        ("fadvise64", [offset, length]) => {
            let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_NORMAL;
            nix::fcntl::posix_fadvise(&input, *offset, *length, advice)
        }
        ("fallocate", [offset, length]) => {
            nix::fcntl::fallocate(&input, nix::fcntl::FallocateFlags::empty(), *offset, *length)
        }
        _ => return Err(format!("unknown call {call}")),
    })
}
