//! Pulling from registries on loopback: Debian's docker-registry, and one with faults.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rbox_images::{Error, Image, Progress, PullOptions, Reference, Sharing, Snapshot, Store};

use crate::support::{assert_same_tree, busybox, scratch, sh, store, tree};

/// A program that ends with the test.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A registry that serves an OCI layout, with faults.
fn faulty(layout: &Path, faults: &[&str]) -> Server {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/registry.py");
    let mut command = Command::new("python3");
    let mut child = command.arg(program).arg(layout).args(faults).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Server { child, port: line.trim().parse().unwrap() }
}

/// Debian's docker-registry, empty.
fn registry(dir: &Path, auth: &str) -> Server {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let storage = dir.join("registry");
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n{auth}",
        storage.display()
    );
    std::fs::write(dir.join("registry.yml"), config).unwrap();
    let mut command = Command::new("docker-registry");
    let quiet = command.args(["serve", "registry.yml"]).current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null());
    let child = quiet.spawn().expect("the Debian package docker-registry");
    let server = Server { child, port };
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(std::time::Instant::now() < until, "the registry does not listen");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    server
}

fn push(dir: &Path, from: &str, server: &Server, name: &str, options: &str) {
    let to = format!("docker://127.0.0.1:{}/{name}", server.port);
    sh(dir, &format!("skopeo copy -q --insecure-policy --dest-tls-verify=false {options} {from} {to}"));
}

fn busybox_source() -> String {
    format!("docker-archive:{}", busybox().display())
}

/// The busybox image as an OCI layout, with packed layers and the tag `1`.
fn layout(dir: &Path) -> PathBuf {
    sh(dir, &format!("skopeo copy -q --insecure-policy {} oci:layout:1", busybox_source()));
    dir.join("layout")
}

fn quiet() -> PullOptions {
    PullOptions { progress: Progress::Quiet, ..PullOptions::default() }
}

fn pull(store: &Store, server: &Server, name: &str) -> rbox_images::Result<Image> {
    let reference: Reference = format!("127.0.0.1:{}/{name}", server.port).parse().unwrap();
    store.pull(&reference, &quiet())
}

fn layer_tree(store: &Store, image: &Image, id: &str) -> std::collections::BTreeMap<PathBuf, String> {
    match store.snapshot(image, id, Sharing::Auto).unwrap() {
        Snapshot::Overlay { lower, .. } => tree(&lower[0]),
        Snapshot::Copy(_) => panic!("an overlay is to be had on this file system"),
    }
}

#[test]
fn a_pulled_image_is_the_loaded_one_however_it_is_packed() {
    let dir = scratch();
    let server = registry(dir.path(), "");
    let loaded = store(&dir);
    loaded.load(std::fs::File::open(busybox()).unwrap()).unwrap();
    let want = layer_tree(&loaded, &loaded.find("rbox-fixtures/busybox").unwrap(), "c");
    for (name, options) in
        [("gzip", "--format oci"), ("docker", "--format v2s2"), ("zstd", "--format oci --dest-compress-format zstd")]
    {
        push(dir.path(), &busybox_source(), &server, &format!("team/{name}:1"), options);
        let store = Store::open(&dir.path().join(name)).unwrap();
        let image = pull(&store, &server, &format!("team/{name}:1")).unwrap();
        assert_same_tree(&layer_tree(&store, &image, "c"), &want);
        let found = store.find(&format!("127.0.0.1:{}/team/{name}:1", server.port)).unwrap();
        assert_eq!((found.id, found.manifest), (image.id.clone(), image.manifest.clone()));
        // Again, by digest: nothing new, one more name for the same image.
        let again = pull(&store, &server, &format!("team/{name}@{}", image.manifest)).unwrap();
        assert_eq!(again.id, image.id);
        assert_eq!(store.list().unwrap().len(), 1);
    }
}

#[test]
fn an_index_leads_to_the_image_of_the_platform() {
    let dir = scratch();
    let server = registry(dir.path(), "");
    push(dir.path(), &busybox_source(), &server, "multi:amd64", "--format oci");
    sh(
        dir.path(),
        &format!(
            "mkdir x; tar -xf {} -C x; cd x; sed -i 's/\"architecture\": \"amd64\"/\"architecture\": \"arm64\"/' *.json; \
         new=$(sha256sum $(ls *.json | grep -v manifest) | cut -d' ' -f1).json; old=$(ls *.json | grep -v manifest); \
         mv $old $new; sed -i s/$old/$new/ manifest.json; tar -cf ../arm.tar *",
            busybox().display()
        ),
    );
    push(dir.path(), "docker-archive:arm.tar", &server, "multi:arm64", "--format oci");
    let script = format!(
        r#"
import json, urllib.request
base = "http://127.0.0.1:{}/v2/multi/manifests/"
kind = "application/vnd.oci.image.manifest.v1+json"
manifests = []
for arch in ["arm64", "amd64"]:
    r = urllib.request.urlopen(urllib.request.Request(base + arch, headers={{"Accept": kind}}))
    body = r.read()
    manifests.append({{"mediaType": kind, "digest": r.headers["Docker-Content-Digest"], "size": len(body),
        "platform": {{"os": "linux", "architecture": arch}}}})
index = {{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}}
urllib.request.urlopen(urllib.request.Request(base + "latest", method="PUT", data=json.dumps(index).encode(),
    headers={{"Content-Type": index["mediaType"]}}))
"#,
        server.port
    );
    std::fs::write(dir.path().join("index.py"), script).unwrap();
    sh(dir.path(), "python3 index.py");
    let store = store(&dir);
    let own = pull(&store, &server, "multi").unwrap();
    assert_eq!(own.config.architecture().to_string(), "amd64");
    let reference: Reference = format!("127.0.0.1:{}/multi", server.port).parse().unwrap();
    let options = PullOptions { platform: Some("linux/arm64".parse().unwrap()), ..quiet() };
    assert_eq!(store.pull(&reference, &options).unwrap().config.architecture().to_string(), "arm64");
    let options = PullOptions { platform: Some("linux/s390x".parse().unwrap()), ..quiet() };
    let error = store.pull(&reference, &options).unwrap_err().to_string();
    assert!(error.ends_with("no variant for linux/s390x (it has linux/arm64, linux/amd64)"), "{error}");
}

#[test]
fn a_broken_transfer_goes_on_where_it_broke() {
    let dir = scratch();
    let layout = layout(dir.path());
    let server = faulty(&layout, &["break"]);
    pull(&store(&dir), &server, "x:1").unwrap();
    let log = std::fs::read_to_string(dir.path().join("layout.log")).unwrap();
    let resumed = log.lines().filter(|line| line.contains("blobs") && line.contains("range=bytes=")).count();
    assert!(resumed > 0, "{log}");
}

#[test]
fn a_registry_without_ranges_is_asked_again_and_gives_up_after_five_attempts() {
    let dir = scratch();
    let layout = layout(dir.path());
    let server = faulty(&layout, &["break", "norange"]);
    let error = pull(&store(&dir), &server, "x:1").unwrap_err().to_string();
    assert!(error.contains("broke off"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path().join("root/images/tmp")).unwrap().count(), 0);
}

#[test]
fn content_that_is_not_what_its_digest_says_is_refused() {
    let dir = scratch();
    let layout = layout(dir.path());
    let server = faulty(&layout, &["rot"]);
    let store = store(&dir);
    let error = pull(&store, &server, "x:1").unwrap_err();
    assert!(matches!(&error, Error::Refused { why, .. } if why.contains("its content is")), "{error}");
    assert!(store.list().unwrap().is_empty());
    assert_eq!(std::fs::read_dir(dir.path().join("root/l")).unwrap().count(), 0);
}

#[test]
fn errors_name_the_image_and_the_registry() {
    let dir = scratch();
    let layout = layout(dir.path());
    let server = faulty(&layout, &[]);
    let store = store(&dir);
    let port = server.port;
    let error = pull(&store, &server, "x:2").unwrap_err().to_string();
    assert_eq!(error, format!("image 127.0.0.1:{port}/x:2: not found here or on 127.0.0.1:{port}"));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let reference: Reference = format!("localhost:{closed}/x:1").parse().unwrap();
    let error = store.pull(&reference, &quiet()).unwrap_err().to_string();
    assert_eq!(error, format!("cannot pull localhost:{closed}/x:1: localhost:{closed}: connection refused"));
}

/// Not a test of its own: pulls in a process whose environment is the caller's choice, and says how it went.
#[test]
#[ignore = "run by the tests below"]
fn child_pulls() {
    let var = |name: &str| std::env::var(name).unwrap();
    let store = Store::open(Path::new(&var("RBOX_TEST_STORE"))).unwrap();
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let answer = store.pull(&var("RBOX_TEST_IMAGE").parse().unwrap(), &PullOptions::default());
    assert_eq!(threads(), before, "a thread is left");
    match answer {
        Ok(image) => println!("pulled {}", image.references[0].familiar_name()),
        Err(error) => println!("rbox: {error}"),
    }
}

/// Run [`child_pulls`] with `config` as `config.json`; what it said.
fn pull_with(dir: &Path, config: &str, port: u16, name: &str) -> String {
    std::fs::write(dir.join("config.json"), config).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
    child
        .args(["--exact", "pull::child_pulls", "--ignored", "--nocapture"])
        .env("DOCKER_CONFIG", dir)
        .env("PATH", path);
    child.env("RBOX_TEST_STORE", dir.join("store")).env("RBOX_TEST_IMAGE", format!("localhost:{port}/{name}"));
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn credentials_come_from_the_docker_configuration() {
    let dir = scratch();
    sh(dir.path(), "htpasswd -Bbn tester secret > htpasswd");
    let auth = format!("auth: {{htpasswd: {{realm: test, path: {}/htpasswd}}}}\n", dir.path().display());
    let basic = registry(dir.path(), &auth);
    push(dir.path(), &busybox_source(), &basic, "x:1", "--dest-creds tester:secret");
    let layout = layout(dir.path());
    let token = faulty(&layout, &["token"]);
    // "tester:secret" and "tester:wrong".
    let (good, bad) = ("dGVzdGVyOnNlY3JldA==", "dGVzdGVyOndyb25n");
    for server in [&basic, &token] {
        let port = server.port;
        let auths = |auth: &str| format!(r#"{{"auths":{{"localhost:{port}":{{"auth":"{auth}"}}}}}}"#);
        let host = format!("rbox: cannot pull localhost:{port}/x:1: localhost:{port}: ");
        let said = pull_with(dir.path(), "{}", port, "x:1");
        assert!(said.contains(&format!("{host}authentication required\n")), "{said}");
        let said = pull_with(dir.path(), &auths(bad), port, "x:1");
        assert!(said.contains(&format!("{host}authentication failed\n")), "{said}");
        let said = pull_with(dir.path(), &auths(good), port, "x:1");
        assert!(said.contains(&format!("pulled localhost:{port}/x")), "{said}");
        assert!(said.contains("1: Pulling from x\n") && said.contains(": Pull complete\n"), "{said}");
        sh(dir.path(), "rm -rf store");
    }
    // And from a helper.
    let helper = "#!/bin/sh\nread server\necho '{\"Username\":\"tester\",\"Secret\":\"secret\"}'\n";
    std::fs::write(dir.path().join("docker-credential-test"), helper).unwrap();
    sh(dir.path(), "chmod +x docker-credential-test");
    let said = pull_with(dir.path(), r#"{"credsStore":"test"}"#, token.port, "x:1");
    assert!(said.contains("pulled "), "{said}");
}

#[test]
fn a_token_for_nobody_in_particular_is_fetched() {
    let dir = scratch();
    let layout = layout(dir.path());
    let server = faulty(&layout, &["token", "anonymous"]);
    pull(&store(&dir), &server, "library/x:1").unwrap();
}

/// The whole way to a registry far away, in a network namespace of its own: name server, TLS, certificates.
#[test]
fn a_registry_with_a_name_and_a_certificate_is_reached() {
    let dir = scratch();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let inside = r#"
ip link set lo up; ip address add 192.0.2.1/32 dev lo
echo 'nameserver 127.0.0.1' > resolv.conf; mount --bind resolv.conf /etc/resolv.conf
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=registry.test \
    -addext subjectAltName=DNS:registry.test -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out cert.pem 2> openssl.log
python3 $TESTS/dns.py & dns=$!
cat > registry.yml << END
{version: 0.1, log: {level: error}, storage: {filesystem: {rootdirectory: $PWD/registry}},
 http: {addr: '192.0.2.1:443', tls: {certificate: $PWD/cert.pem, key: $PWD/key.pem}}}
END
docker-registry serve registry.yml > registry.log 2>&1 & registry=$!
trap 'kill $dns $registry' EXIT
skopeo copy -q --retry-times 5 --insecure-policy --dest-tls-verify=false $SOURCE docker://192.0.2.1/team/x:1
export RBOX_TEST_STORE=$PWD/store DOCKER_CONFIG=$PWD
pull() { RBOX_TEST_IMAGE=$1 $PROGRAM --exact pull::child_pulls --ignored --nocapture; }
SSL_CERT_FILE=$PWD/cert.pem pull registry.test/team/x:1
pull registry.test/team/x:1
SSL_CERT_FILE=$PWD/cert.pem pull registry.test/team/x:2
pull registry.example/team/x:1
pull registry.test:444/team/x:1
kill $dns
umount /etc/resolv.conf; mkdir etc; mount --bind etc /etc
pull registry.test/team/x:1
"#;
    let mut command = Command::new("unshare");
    command.args(["-n", "-m", "sh", "-euc", inside]).current_dir(dir.path()).env("TESTS", tests);
    command.env("SOURCE", busybox_source()).env("PROGRAM", std::env::current_exe().unwrap());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    for line in [
        "pulled registry.test/team/x\n",
        "rbox: cannot pull registry.test/team/x:1: registry.test: its certificate is not trusted",
        "rbox: image registry.test/team/x:2: not found here or on registry.test\n",
        "rbox: cannot pull registry.example/team/x:1: registry.example: no such host\n",
        "rbox: cannot pull registry.test:444/team/x:1: registry.test:444: connection refused\n",
        "registry.test: no name server is configured (/etc/resolv.conf is missing)\n",
    ] {
        assert!(said.contains(line), "{line}\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}
