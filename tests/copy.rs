//! `rbox cp`: files in and out, by cp's rules, and safe against a container that sets traps.

use crate::support::{BUSYBOX, Host, Running, need};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Stdio;

fn idle(host: &Host, flags: &[&str]) -> Running {
    let flags = [&["--network", "none", "--name", "web"], flags].concat();
    host.run_ready(&flags, &["sh", "-c", "echo ready; exec sleep 1000"])
}

fn inside(host: &Host, script: &str) -> String {
    host.rbox(&["exec", "web", "sh", "-c", script]).ok().text().to_owned()
}

/// A folder with a file, a folder, and two links.
fn folder(host: &Host) -> PathBuf {
    let folder = host.path("w");
    fs::create_dir_all(folder.join("dir/deep")).unwrap();
    fs::write(folder.join("file"), "hi\n").unwrap();
    fs::write(folder.join("dir/deep/leaf"), "leaf\n").unwrap();
    fs::set_permissions(folder.join("dir"), fs::Permissions::from_mode(0o741)).unwrap();
    symlink("file", folder.join("link")).unwrap();
    std::os::unix::fs::chown(folder.join("file"), Some(33), Some(34)).unwrap();
    folder
}

#[test]
fn files_go_in_with_owner_rights_and_time() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, &[]);
    let folder = folder(&host);
    host.rbox(&["cp", "w/file", "web:/"]).ok();
    host.rbox(&["cp", "w/dir", "web:/"]).ok();
    host.rbox(&["cp", "w/dir", "web:/other"]).ok();
    host.rbox(&["cp", "w/dir/.", "web:/tmp"]).ok();
    host.rbox(&["cp", "w/file", "web:/dir/deep/leaf"]).ok();
    host.rbox(&["cp", "w/link", "web:/"]).ok();
    host.rbox(&["container", "cp", "-L", "w/link", "web:/followed"]).ok();
    let script = "cat /file /other/deep/leaf /tmp/deep/leaf /dir/deep/leaf /followed; readlink /link; \
                  stat -c '%u:%g %Y' /file; stat -c %a /dir; stat -c %a /tmp";
    let time = fs::metadata(folder.join("file")).unwrap().mtime();
    assert_eq!(inside(&host, script), format!("hi\nleaf\nleaf\nhi\nhi\nfile\n33:34 {time}\n741\n1777"));
}

#[test]
fn files_come_out_as_the_callers_or_with_a_as_they_were() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, &["--tmpfs", "/scratch"]);
    inside(
        &host,
        "mkdir /d; echo x > /d/f; chown 5:6 /d/f; chmod 4755 /d/f; ln -s /etc/passwd /d/l; echo t > /scratch/t",
    );
    fs::create_dir(host.path("out")).unwrap();
    host.rbox(&["cp", "web:/d", "out"]).ok();
    host.rbox(&["cp", "-a", "web:/d/f", "out/kept"]).ok();
    host.rbox(&["cp", "web:/scratch/t", "out/t"]).ok();
    host.rbox(&["cp", "web:d/.", "out/contents"]).ok();
    let look = |name: &str| fs::symlink_metadata(host.path("out").join(name)).unwrap();
    assert_eq!((look("d/f").uid(), look("d/f").mode() & 0o7777), (0, 0o755), "no set-user-id for a new owner");
    assert_eq!((look("kept").uid(), look("kept").gid(), look("kept").mode() & 0o7777), (5, 6, 0o4755));
    assert_eq!(fs::read_link(host.path("out/d/l")).unwrap().to_str(), Some("/etc/passwd"));
    assert_eq!(fs::read_to_string(host.path("out/t")).unwrap(), "t\n", "as the container sees it");
    assert!(look("contents/f").is_file());
}

#[test]
fn what_does_not_fit_is_refused() {
    need!(Root);
    let host = Host::with_busybox();
    let shared = format!("{}:/ro:ro", host.path("").display());
    let _web = idle(&host, &["-v", &shared]);
    folder(&host);
    host.rbox(&["cp", "w/file", "web:/file"]).ok();
    for (from, to, words) in [
        ("w/dir", "web:/file", "a directory cannot take the place of a file"),
        ("web:/etc", "w/file", "a directory cannot take the place of a file"),
        ("w/file", "web:/nodir/", "there is no such directory"),
        ("w/file", "web:/nodir/x", "no such file or directory"),
        ("web:/file", "w/no/x", "no such file or directory"),
        ("w/nosuch", "web:/", "no such file or directory"),
        ("web:/nosuch", ".", "no such file or directory"),
        ("w/file/", "web:/", "not a directory"),
        ("web:/dev/null", "w/null", "neither a file, a directory nor a link"),
        ("w/file", "web:/ro/x", "read-only file system"),
        ("w/file", "web:/etc/hosts", "a mount of its own"),
        ("w/file", "web:", "the path is missing"),
        ("web:/file", "web:/other", "cannot copy between containers"),
        ("w/file", "w/other", "neither side is in a container"),
        ("nosuch:/file", ".", "container nosuch: not found"),
    ] {
        host.rbox(&["cp", from, to]).code(1).says(words);
    }
    assert!(inside(&host, "cat /etc/hosts").contains("localhost"));
}

#[test]
fn a_tar_archive_on_either_side() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, &[]);
    folder(&host);
    host.shell("tar c -C w . > in.tar").ok();
    let rbox = |args: &str| {
        let words = host.rbox_words(&[]).join(" ");
        host.shell(&format!("{} {words} {args}", crate::support::rbox().display()))
    };
    rbox("cp - web:/tmp < in.tar").ok();
    assert_eq!(
        inside(&host, "cat /tmp/dir/deep/leaf; readlink /tmp/link; stat -c %a /tmp /tmp/dir"),
        "leaf\nfile\n1777\n741"
    );
    let listed = rbox("cp web:/tmp/dir - | tar t").ok();
    assert_eq!(listed.stdout, "dir/\ndir/deep/\ndir/deep/leaf\n");
    rbox("cp - web:/nosuch < in.tar").code(1).says("no such file or directory");
    rbox("cp - web:/etc/passwd < in.tar").code(1).says("not a directory");
    rbox("cp - web:/tmp < /etc/passwd").code(1);
}

#[test]
fn an_ended_container_has_files_too() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&["run", "--name", "done", "--network", "none", BUSYBOX, "sh", "-c", "echo made > /made"]).ok();
    folder(&host);
    host.rbox(&["cp", "done:/made", "w/made"]).ok();
    assert_eq!(fs::read_to_string(host.path("w/made")).unwrap(), "made\n");
    host.rbox(&["cp", "w/file", "done:/back"]).ok();
    host.rbox(&["cp", "done:/back", "w/back"]).ok();
    assert_eq!(fs::read_to_string(host.path("w/back")).unwrap(), "hi\n");
    host.rbox(&["run", "--name", "shut", "--read-only", "--network", "none", BUSYBOX, "true"]).ok();
    host.rbox(&["cp", "w/file", "shut:/x"]).code(1).says("read-only");
}

#[test]
fn links_of_a_hostile_container_lead_nowhere_but_into_it() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, &[]);
    let secret = host.path("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "the host's\n").unwrap();
    folder(&host);
    let up = "../".repeat(30);
    let path = secret.display();
    inside(
        &host,
        &format!("ln -s {path} /abs; ln -s /{up}{path} /up; ln -s /proc/1/root/{path} /magic; ln -s /abs /chain"),
    );
    for link in ["abs", "up", "magic", "chain"] {
        host.rbox(&["cp", &format!("web:/{link}/key"), "stolen"]).code(1);
        host.rbox(&["cp", "-L", &format!("web:/{link}"), "stolen"]).code(1);
        host.rbox(&["cp", "w/file", &format!("web:/{link}/key")]).code(1);
        assert!(!host.path("stolen").exists());
    }
    // A link at the end that leads nowhere inside: written there, inside.
    host.rbox(&["cp", "w/file", "web:/etc/../up"]).fails();
    assert_eq!(fs::read_to_string(secret.join("key")).unwrap(), "the host's\n");
    // An archive whose names lead out, and one whose link does.
    host.shell("cp w/file evil; tar cP --transform 's,^evil,../../../../secret/key,' -f out.tar evil").ok();
    host.shell(&format!(
        "ln -s {path} trap; tar c -f trap.tar trap; rm trap; mkdir trap; cp evil trap/key; tar r -f trap.tar trap/key"
    ))
    .ok();
    for archive in ["out.tar", "trap.tar"] {
        let mut copy = host.rbox_spawn(&["cp", "-", "web:/tmp"]);
        let mut input = copy.child.stdin.take().unwrap();
        input.write_all(&fs::read(host.path(archive)).unwrap()).unwrap();
        drop(input);
        copy.wait().code(1);
    }
    assert_eq!(fs::read_to_string(secret.join("key")).unwrap(), "the host's\n");
}

#[test]
fn a_tree_that_changes_its_mind_while_it_is_copied() {
    need!(Root);
    let host = Host::with_busybox();
    let secret = host.path("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "the host's\n").unwrap();
    // A directory and a link to the host's path take turns at one name.
    let path = secret.display();
    let script = format!(
        "mkdir -p /t/a; echo own > /t/a/key; ln -s {path} /t/b; echo ready
         while :; do mv /t/a /t/c; mv /t/b /t/a; mv /t/a /t/b; mv /t/c /t/a; done"
    );
    let _web = host.run_ready(&["--network", "none", "--name", "web"], &["sh", "-c", &script]);
    for turn in 0..40 {
        let out = format!("out{turn}");
        // What is in the middle of a change may be missing; what comes is the container's.
        let mut copy = host.rbox_spawn(&["cp", "web:/t/a/.", &out]);
        drop(copy.child.stdin.take());
        copy.wait();
        let key = host.path(&out).join("key");
        if let Ok(text) = fs::read_to_string(&key) {
            assert_eq!(text, "own\n", "turn {turn}");
        }
    }
}

#[test]
fn a_tree_copied_into_itself_ends() {
    need!(Root);
    let host = Host::with_busybox();
    let folder = folder(&host);
    let bind = format!("{}:/t", folder.display());
    let _web = idle(&host, &["-v", &bind]);
    host.rbox(&["cp", "web:/t", "w/inside"]).ok();
    assert_eq!(fs::read_to_string(folder.join("inside/dir/deep/leaf")).unwrap(), "leaf\n");
    assert!(!folder.join("inside/inside/inside").exists());
}

#[test]
fn a_fifo_does_not_hold_it_up() {
    need!(Root);
    let host = Host::with_busybox();
    let _web = idle(&host, &[]);
    inside(&host, "mkdir /d; mkfifo /d/fifo; echo x > /d/z");
    let mut command = host.command("timeout", &["20"]);
    command.arg(crate::support::rbox()).args(host.rbox_words(&["cp", "web:/d", "out"]));
    let output = host.finish(command.stdin(Stdio::null()), "rbox cp web:/d out").ok();
    assert!(output.stderr.contains("fifo is left out"), "{output}");
    assert!(host.path("out/z").exists());
}

#[test]
fn views_into_the_kernel_are_empty() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&["--network", "none", "--name", "web"], &["sleep", "1000"]);
    host.rbox(&["exec", "web", "ln", "-s", "/proc", "/data"]).ok();
    // All of it, as people do; /proc/kmsg would never end.
    host.rbox(&["cp", "web:/", &host.path("all").display().to_string()]).ok();
    let found = host.shell("ls -A all/proc all/sys; ls all/bin/busybox all/etc/hosts; readlink all/data").ok();
    assert_eq!(found.stdout, "all/proc:\n\nall/sys:\nall/bin/busybox\nall/etc/hosts\n/proc\n");
    for path in ["/proc/kmsg", "/data/kmsg", "/proc/1/status", "/sys/kernel/uevent_seqnum"] {
        host.rbox(&["cp", &format!("web:{path}"), "."]).code(1).says("neither a file, a directory nor a link");
    }
    let names = host.rbox_words(&["cp", "web:/data/", "-"]).join(" ");
    let listed = host.shell(&format!("{} {names} | tar -t | grep -v '/$'", crate::support::rbox().display()));
    assert_eq!(listed.stdout, "");
}

#[test]
fn names_that_a_container_chose_are_not_obeyed_by_the_terminal() {
    need!(Root);
    let host = Host::with_busybox();
    host.detached(&["--network", "none", "--name", "web"], &["sleep", "1000"]);
    let script =
        r#"mkdir /odd && cd /odd && mkfifo "$(printf 'a\033]0;x\007\nb')" && echo kept > "$(printf 'n\377\nl')""#;
    host.rbox(&["exec", "web", "sh", "-c", script]).ok();
    let copied = host.rbox(&["cp", "web:/odd", &host.path("out").display().to_string()]).ok();
    assert!(copied.stderr.contains(r"a\u{1b}]0;x\u{7}\nb is left out"), "{copied}");
    assert!(!copied.stderr.contains('\u{1b}') && copied.stderr.lines().count() == 1, "{copied}");
    assert_eq!(host.shell("cat out/*").ok().stdout, "kept\n", "odd names are names");
}

#[test]
fn one_that_does_not_run_is_copied_with_its_bind_mounts() {
    need!(Root);
    let host = Host::with_busybox();
    let folder = folder(&host);
    let path = |name: &str| host.path(name).display().to_string();
    let binds = [format!("{}:/data/rw", path("w")), format!("{}:/data/rw/dir/ro:ro", path("w/dir/deep"))];
    let one = format!("{}:/etc/one", path("w/file"));
    let flags = ["create", "--network", "none", "--name", "web", "-v", &binds[1], "-v", &binds[0], "-v", &one];
    host.rbox(&[&flags[..], &[BUSYBOX, "sh", "-c", "ln -sf /data /way; ls /data/rw > /seen"]].concat()).ok();
    for ran in [false, true] {
        let way = if ran { "/way/rw" } else { "/data/rw" };
        fs::write(host.path("new"), format!("{ran}")).unwrap();
        host.rbox(&["cp", "new", &format!("web:{way}/in")]).ok();
        assert_eq!(fs::read_to_string(folder.join("in")).unwrap(), format!("{ran}"), "it is the host's directory");
        host.rbox(&["cp", &format!("web:{way}/file"), "out"]).ok();
        host.rbox(&["cp", &format!("web:{way}/dir/ro/leaf"), "leaf"]).ok();
        host.rbox(&["cp", "web:/data", &format!("tree-{ran}")]).ok();
        let read = |name: &str| fs::read_to_string(host.path(name)).unwrap();
        assert_eq!((read("out"), read("leaf")), ("hi\n".into(), "leaf\n".into()));
        assert_eq!(read(&format!("tree-{ran}/rw/dir/ro/leaf")), "leaf\n", "also on the way from above");
        host.rbox(&["cp", "new", &format!("web:{way}/dir/ro/x")]).fails().says("read-only");
        host.rbox(&["cp", "web:/etc/one", "one"]).ok();
        assert_eq!(read("one"), "hi\n");
        assert!(!host.shell("cat /proc/self/mountinfo").ok().stdout.contains("/containers/"), "nothing stays mounted");
        host.rbox(&["start", "-a", "web"]).ok();
    }
    let upper = host.shell(&format!("find {} -path '*/upper/data/*'", path(""))).ok();
    assert!(!upper.stdout.contains("upper/data/rw/"), "nothing in the layer below the mount: {}", upper.stdout);
    fs::remove_dir_all(&folder).unwrap();
    host.rbox(&["cp", "web:/seen", "x"]).fails().says("no such file");
}

#[test]
fn a_start_waits_while_the_files_are_copied() {
    need!(Root);
    let host = Host::with_busybox();
    host.rbox(&[
        "run",
        "--network",
        "none",
        "--name",
        "web",
        BUSYBOX,
        "dd",
        "if=/dev/zero",
        "of=/big",
        "bs=1M",
        "count=4",
    ])
    .ok();
    let mut copying = host.rbox_spawn(&["cp", "web:/big", "-"]);
    let mut archive = copying.child.stdout.take().unwrap();
    archive.read_exact(&mut [0]).unwrap();
    // It waits for its reader, with the layers mounted.
    let starting = host.rbox_spawn(&["start", "web"]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(host.rbox(&["ps", "-a", "--format", "{{.State}}"]).ok().text(), "exited");
    let finished = "{{.State.FinishedAt}}";
    let before = host.rbox(&["inspect", "-f", finished, "web"]).ok().text().to_owned();
    std::io::copy(&mut archive, &mut std::io::sink()).unwrap();
    copying.wait().ok();
    starting.wait().ok();
    host.rbox(&["wait", "web"]).ok();
    assert_ne!(host.rbox(&["inspect", "-f", finished, "web"]).ok().text(), before, "then it was started");
}
