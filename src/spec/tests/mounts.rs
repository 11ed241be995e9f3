//! What is mounted: the defaults, and what is typed.

use super::*;

#[test]
fn the_default_mounts_are_dockers() {
    assert_eq!(
        mounts_of(&spec("alpine sh")),
        [
            "/proc proc proc nosuid,noexec,nodev",
            "/dev tmpfs tmpfs nosuid,strictatime,mode=755,size=65536k",
            "/dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
            "/sys sysfs sysfs nosuid,noexec,nodev,ro",
            "/sys/fs/cgroup cgroup cgroup ro,nosuid,noexec,nodev",
            "/dev/mqueue mqueue mqueue nosuid,noexec,nodev",
            "/dev/shm tmpfs shm nosuid,noexec,nodev,mode=1777,size=67108864",
        ]
    );
}

#[test]
fn typed_mounts_come_last_and_push_the_defaults_away() {
    let all = mounts_of(&spec(
        "-v /b/c:/x/y/z -v ./a:/x:ro,rslave --tmpfs /run:size=1m --mount type=bind,src=/dev,dst=/dev alpine sh",
    ));
    assert!(!all.iter().any(|mount| mount.starts_with("/dev/") || mount.starts_with("/dev tmpfs")), "{all:#?}");
    assert_eq!(
        all[all.len() - 4..],
        [
            "/x bind /nowhere/me/./a rbind,ro,rslave",
            "/dev bind /dev rbind,rprivate",
            "/run tmpfs tmpfs noexec,nosuid,nodev,rprivate,size=1m",
            "/x/y/z bind /b/c rbind,rprivate",
        ]
    );
    let got = prepared("-v /nowhere/a:/x:rshared -v /etc/passwd:/y -v /nowhere/b:/z alpine sh");
    assert_eq!(got.make_directories, [Path::new("/nowhere/a"), Path::new("/nowhere/b")]);
    assert_eq!(linux_of(&got.spec).rootfs_propagation().as_deref(), Some("shared"));
    assert_eq!(prepared("-v ./a:/x alpine sh").make_directories, [Path::new("/nowhere/me/./a")]);
    assert!(try_build("-v /a:/x:z alpine sh", None, &host()).is_ok());
    let selinux = Host { selinux: true, ..host() };
    assert_eq!(
        try_build("-v /a:/x:Z alpine sh", None, &selinux).unwrap_err(),
        "--volume /a: relabelling for SELinux is not supported"
    );
    assert_eq!(try_build("-v /a:/x --tmpfs /x alpine sh", None, &host()).unwrap_err(), "/x: two mounts go to it");
    assert_eq!(
        try_build("--mount type=bind,src=/nowhere,dst=/x alpine sh", None, &host()).unwrap_err(),
        "--mount /nowhere: no such file or directory"
    );
}

#[test]
fn shared_memory_follows_the_ipc_mode() {
    let shm = |line: &str| mounts_of(&spec(line)).into_iter().find(|mount| mount.starts_with("/dev/shm"));
    assert_eq!(
        shm("--shm-size 1m alpine sh").as_deref(),
        Some("/dev/shm tmpfs shm nosuid,noexec,nodev,mode=1777,size=1048576")
    );
    assert_eq!(shm("--ipc host alpine sh").as_deref(), Some("/dev/shm bind /dev/shm rbind,rprivate"));
    assert_eq!(shm("--ipc none alpine sh"), None);
    assert!(shm("--ipc shareable alpine sh").is_some());
}

#[test]
fn a_read_only_root_leaves_the_programs_places_writable() {
    let got = spec("--read-only --privileged alpine sh");
    assert_eq!(got.root().as_ref().unwrap().readonly(), Some(true));
    let all = mounts_of(&got);
    assert!(all.contains(&"/sys sysfs sysfs nosuid,noexec,nodev,ro".to_owned()), "{all:#?}");
    assert!(all.contains(&"/dev tmpfs tmpfs nosuid,strictatime,mode=755,size=65536k".to_owned()), "{all:#?}");
}
