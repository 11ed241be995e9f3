//! Buildah with `--runtime`: each RUN of a build is a container.

use super::daemonless::{BUILDAH, PODMAN, Podman};
use super::stage::need_engine;
use crate::support::need;

#[test]
fn buildah_runs_programs_in_an_image_it_builds() {
    need!(Root, Iptables);
    need_engine!(BUILDAH, PODMAN);
    let podman = Podman::start();
    super::stage::say_version(&podman.host, BUILDAH);
    let name = podman.buildah("from --pull-never --name work @image").ok();
    assert_eq!(name.text(), "work");
    let run = "run --runtime @runtime --isolation oci";
    assert_eq!(
        podman.buildah(&format!("{run} --user 33 work -- sh -c 'id -u; hostname >/dev/null; pwd'")).ok().text(),
        "33\n/"
    );
    podman.buildah(&format!("{run} work -- sh -c 'echo made >/made'")).ok();
    podman.buildah(&format!("{run} work -- sh -c 'exit 7'")).code(7);
    podman
        .buildah(&format!(
            "{run} --cap-drop CAP_CHOWN -v @dir:/shared:ro work -- sh -c 'cat /shared/file; chown 33 /made'"
        ))
        .fails()
        .says("Operation not permitted");
    podman.buildah("config --cmd 'cat /made' work").ok();
    podman.buildah("commit --quiet --rm work made").ok();
    assert_eq!(podman.text("run --rm localhost/made"), "made");
    podman.assert_clean();
}

#[test]
fn buildah_builds_from_a_file() {
    need!(Root, Iptables);
    need_engine!(BUILDAH, PODMAN);
    let podman = Podman::start();
    let file = "FROM localhost/rbox-fixtures/busybox\nRUN echo one >/made && id -u >>/made\nUSER 33\nWORKDIR /var/www\n\
                RUN id -u >/tmp/who\nCMD cat /made /tmp/who\n";
    std::fs::write(podman.host.path("dir").join("Containerfile"), file).unwrap();
    let build = "bud --runtime @runtime --isolation oci --pull-never --layers";
    podman.buildah(&format!("{build} -t built @dir")).ok();
    assert_eq!(podman.text("run --rm localhost/built"), "one\n0\n33");
    std::fs::write(
        podman.host.path("dir").join("Containerfile"),
        "FROM localhost/rbox-fixtures/busybox\nRUN exit 12\n",
    )
    .unwrap();
    podman.buildah(&format!("{build} -t failed @dir")).fails().says("exit status 12");
    podman.buildah("rm --all").ok();
    podman.assert_clean();
}
