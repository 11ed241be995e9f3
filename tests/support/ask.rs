//! Many questions of one asker at once: who is reached, by what, and as whom the answerer knows the asker.
//!
//! A question is a line: `tcp ADDRESS PORT`, `udp ADDRESS PORT` or `ping ADDRESS`. What is dropped is waited for, so they
//! are asked side by side.

use super::host::{Host, Neighbour, Running};
use super::output::Output;
use super::programs::probe;

/// The questions that were answered, in the order in which they were asked.
type Answered = Vec<String>;

impl Host {
    /// What the host itself reaches of these.
    #[track_caller]
    pub(crate) fn reaches(&self, questions: &[&str]) -> Answered {
        answered(questions, &self.shell(&script(&probe().display().to_string(), questions)))
    }

    /// Run a shell script of the host's in the network of a container.
    pub(crate) fn in_network_of(&self, container: &Running, script: &str) -> Output {
        let mut command = std::process::Command::new("nsenter");
        command.args([&format!("--net=/proc/{}/ns/net", container.container_pid()), "--", "/bin/sh", "-c", script]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        self.finish(&mut command, script)
    }

    /// A server at the neighbour: `probe serve WORDS`.
    #[track_caller]
    pub(crate) fn neighbour_serves(&self, words: &[&str]) -> Running {
        let pid = std::fs::read_to_string(self.path("neighbour.pid")).unwrap();
        let (net, probe) = (format!("--net=/proc/{}/ns/net", pid.trim()), probe().display().to_string());
        let mut server = self.spawn("nsenter", &[&[net.as_str(), &probe, "serve"], words].concat());
        server.wait_for("ready");
        server
    }
}

impl Neighbour<'_> {
    /// What the neighbour reaches of these.
    #[track_caller]
    pub(crate) fn reaches(&self, questions: &[&str]) -> Answered {
        answered(questions, &self.shell(&script(&probe().display().to_string(), questions)))
    }
}

impl Running {
    /// What the container reaches of these.
    #[track_caller]
    pub(crate) fn reaches(&self, questions: &[&str]) -> Answered {
        answered(questions, &self.inside(&script("/probe", questions)))
    }

    /// As whom a server knows the container: the address alone.
    #[track_caller]
    pub(crate) fn is_known_as(&self, address: &str, port: u16, protocol: &str) -> String {
        known_as(self.inside(&format!("/probe connect {address} {port} {protocol}")))
    }
}

/// As whom the server knew who asked.
#[track_caller]
pub(crate) fn known_as(output: Output) -> String {
    let you = output.ok().json()["you"].as_str().unwrap().rsplit_once(':').unwrap().0.to_owned();
    // A server for both families has IPv4 in this form: RFC 4291, section 2.5.5.2.
    you.trim_matches(['[', ']']).trim_start_matches("::ffff:").to_owned()
}

fn script(probe: &str, questions: &[&str]) -> String {
    let ask = |question: &&str| {
        let command = match question.split_whitespace().collect::<Vec<_>>()[..] {
            ["ping", address] => format!("ping -q -c 1 -W 2 {address}"),
            [protocol, address, port] => format!("{probe} connect {address} {port} {protocol}"),
            _ => panic!("not a question: {question}"),
        };
        format!("({command} >/dev/null 2>&1 && echo 'answered {question}') &\n")
    };
    questions.iter().map(ask).chain(["wait".to_owned()]).collect()
}

#[track_caller]
fn answered(questions: &[&str], output: &Output) -> Answered {
    assert!(output.code == 0 && output.stderr.is_empty(), "{output}");
    let said: Vec<&str> = output.stdout.lines().filter_map(|line| line.strip_prefix("answered ")).collect();
    questions.iter().filter(|question| said.contains(question)).map(|question| (*question).to_owned()).collect()
}
