//! What `make install` puts beside the programs: man pages and completions of both.

use crate::support::{Host, need, rbox, runtime};

/// The verbs that `--help` shows.
fn verbs(host: &Host, program: &std::path::Path) -> Vec<String> {
    let help = host.exec(&program.display().to_string(), &["--help"]).ok().stdout;
    let list = help.split("Commands:\n").nth(1).expect("the help lists the verbs");
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    lines
        .filter(|line| !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_verb_of_both_programs_has_a_man_page() {
    need!(Root, OurRuntime);
    let host = Host::offline();
    host.rbox(&["generate", "man", &host.path("man").display().to_string()]).ok();
    for (name, program) in [("rbox", rbox()), ("rbox-runtime", runtime())] {
        let verbs = verbs(&host, &program);
        assert!(verbs.contains(&"run".to_owned()), "{verbs:?}");
        for verb in verbs {
            let page = host.path("man").join(format!("{name}-{verb}.1"));
            let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
            assert!(text.contains(&format!(".TH {name}-{verb} 1")), "{text}");
            // In the locale C, man leaves out what is not ASCII, and complains.
            assert!(text.is_ascii(), "{}: {text}", page.display());
        }
    }
}

/// What bash offers after `WORDS`, whose last is yet to be completed: load the file, then call the function that it
/// registers.
fn offered(host: &Host, words: &[&str]) -> Vec<String> {
    let (name, last) = (words[0], words[words.len() - 1]);
    let script = format!(
        "source made/{name}.bash; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); registered=($(complete -p {name}))
         for ((at = 0; at < ${{#registered[@]}}; at++)); do [ \"${{registered[at]}}\" = -F ] && break; done
         \"${{registered[at + 1]}}\" {name} '{last}' \"${{COMP_WORDS[COMP_CWORD - 1]}}\"
         printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let arguments: Vec<&str> = ["-c", &script, "bash"].iter().chain(words).copied().collect();
    host.exec("bash", &arguments).ok().stdout.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_the_verbs_their_flags_and_nothing_hidden() {
    need!(Root, OurRuntime);
    let host = Host::offline();
    host.rbox(&["generate", "completion", &host.path("made").display().to_string()]).ok();
    for (name, program, flag) in [("rbox", rbox(), "--publish"), ("rbox-runtime", runtime(), "--bundle")] {
        for file in [format!("_{name}"), format!("{name}.fish")] {
            assert!(host.path("made").join(&file).exists(), "{file}");
        }
        let mut first = offered(&host, &[name, ""]);
        first.retain(|word| !word.starts_with('-'));
        assert_eq!(first, verbs(&host, &program), "{name}");
        let flags = offered(&host, &[name, "run", "--"]);
        assert!(flags.contains(&flag.to_owned()), "{name} run: {flags:?}");
        assert_eq!(offered(&host, &[name, "run", &flag[..5]]).iter().filter(|word| *word == flag).count(), 1, "{name}");
    }
}
