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
        // The program is /proc/self/exe: the runtime executes itself, and its file can be opened from inside.
        let program = oci.use_own_copy();
        let bundle = oci.running(|_| {});
        let script = "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
                          for exe in /proc/[0-9]*/exe; do
                              case $(readlink $exe) in *rbox-runtime*|*memfd*|*deleted*) exec 9<$exe; sleep 1
                                  echo overwritten > /proc/self/fd/9 && exit 7 ;; esac
                          done
                      done; exit 0";
        let mut attacker = oci.spawn(&["exec", &bundle.id, "/bin/sh", "-c", script]);
        for _ in 0..5 {
            oci.call(&["exec", &bundle.id, "/bin/true"]);
        }
        let _ = attacker.child.wait();
        let text = std::fs::read(&program).unwrap();
        if text.starts_with(b"overwritten") { Outcome::Broken(program.display().to_string()) } else { Outcome::Held }
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

/// A root file system whose /proc, /sys or /dev is a link: CVE-2023-27561 (runc), CVE-2026-41579.
fn linked_mount_point(oci: &Oci, name: &str) -> Outcome {
    let outside = oci.host.path("outside");
    std::fs::create_dir_all(&outside).unwrap();
    let bundle =
        oci.bundle_of(&["/bin/sh", "-c", "cat /proc/self/mountinfo; echo 0 > /proc/sysrq-trigger && echo written"]);
    std::fs::remove_dir(bundle.rootfs().join(name)).unwrap();
    std::fs::create_dir_all(bundle.rootfs().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", bundle.rootfs().join(name)).unwrap();
    let output = oci.run(&bundle);
    // Refused is held. When it runs, the masks lie on another path than the mount: the files are open.
    if output.stdout.contains("written") || output.code == 0 && output.stdout.contains("elsewhere") {
        return Outcome::Broken(output.stdout);
    }
    Outcome::Held
}

#[test]
fn cve_2023_27561_proc_that_is_a_link() {
    need!(Root, OurRuntime);
    attack("CVE-2023-27561", |oci| linked_mount_point(oci, "proc"));
}

#[test]
fn cve_2026_41579_dev_that_is_a_link() {
    need!(Root, OurRuntime);
    attack("CVE-2026-41579", |oci| linked_mount_point(oci, "dev"));
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
