//! The program: its words, environment, user and directory.

use super::*;

/// docs.docker.com, "Understand how CMD and ENTRYPOINT interact", and docker run --entrypoint.
#[test]
fn the_words_are_entry_point_and_command() {
    let words = |line: &str| process(&of_image(line).spec).args().clone().unwrap();
    assert_eq!(words("web"), ["/entry", "serve", "-v"]);
    assert_eq!(words("web other -x"), ["/entry", "other", "-x"]);
    assert_eq!(words("--entrypoint sh web"), ["sh"]);
    assert_eq!(words("--entrypoint sh web -c ls"), ["sh", "-c", "ls"]);
    assert_eq!(words("--entrypoint= web sh"), ["sh"]);
    assert_eq!(
        try_build("--entrypoint= web", Some(&image()), &host()).unwrap_err(),
        "image web: it names no program to run"
    );
    assert_eq!(try_build("--rootfs /r", None, &host()).unwrap_err(), "--rootfs: it names no program to run");
}

#[test]
fn the_environment_is_dockers_then_the_users_then_the_images() {
    let env = |line: &str| process(&of_image(line).spec).env().clone().unwrap();
    assert_eq!(env("web"), ["PATH=/image/bin", "HOSTNAME=444b69a1b0fc", "LANG=C"]);
    assert_eq!(env("-t -h box web"), ["PATH=/image/bin", "HOSTNAME=box", "TERM=xterm", "LANG=C"]);
    assert_eq!(env("-e A=1 -e LANG=de -e A=2 web"), ["PATH=/image/bin", "HOSTNAME=444b69a1b0fc", "A=2", "LANG=de"]);
    assert_eq!(env("-e LANG -e PATH= web"), ["PATH=", "HOSTNAME=444b69a1b0fc"]);
    let bare = process(&spec("alpine sh")).env().clone().unwrap();
    assert_eq!(bare[0], "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
}

#[test]
fn user_and_directory_are_the_flags_or_the_images() {
    let got = of_image("web");
    assert_eq!(process(&got.spec).user().username().as_deref(), Some("app:staff"));
    assert_eq!(process(&got.spec).cwd(), Path::new("/srv"));
    let got = of_image("-u 1000 -w /tmp --group-add 5 --group-add audio web");
    assert_eq!(process(&got.spec).user().username().as_deref(), Some("1000"));
    assert_eq!(process(&got.spec).user().additional_gids().as_deref(), Some(&[5][..]));
    assert_eq!(got.groups, ["audio"]);
    assert_eq!(process(&got.spec).cwd(), Path::new("/tmp"));
    let bare = spec("alpine sh");
    assert_eq!((process(&bare).user().username(), process(&bare).cwd().to_str()), (&None, Some("/")));
}

#[test]
fn the_rest_of_the_image_is_handed_on() {
    let got = of_image("-l both=flag -l mine --expose 8080 web");
    assert_eq!(got.stop_signal, Signal::SIGQUIT);
    assert_eq!(got.exposed.iter().map(String::as_str).collect::<Vec<_>>(), ["53/udp", "80/tcp", "8080/tcp"]);
    assert_eq!(got.labels["from"], "image");
    assert_eq!((got.labels["both"].as_str(), got.labels["mine"].as_str()), ("flag", ""));
    assert_eq!(of_image("--stop-signal 9 web").stop_signal, Signal::SIGKILL);
    assert_eq!(prepared("alpine sh").stop_signal, Signal::SIGTERM);
}
