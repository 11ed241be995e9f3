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
        }
    }
}

#[test]
fn bash_completes_the_verbs_and_not_the_hidden_one() {
    need!(Root, OurRuntime);
    let host = Host::offline();
    host.rbox(&["generate", "completion", &host.path("made").display().to_string()]).ok();
    for (name, program) in [("rbox", rbox()), ("rbox-runtime", runtime())] {
        for file in [format!("_{name}"), format!("{name}.fish")] {
            assert!(host.path("made").join(&file).exists(), "{file}");
        }
        // What bash does at `NAME <TAB>`: load the file, then call the function that it registers.
        let script = format!(
            "source made/{name}.bash; words=($(complete -p {name})); COMP_WORDS=({name} ''); COMP_CWORD=1
             for ((at = 0; at < ${{#words[@]}}; at++)); do [ \"${{words[at]}}\" = -F ] && break; done
             \"${{words[at + 1]}}\" {name} '' {name}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let offered = host.exec("bash", &["-c", &script]).ok();
        let offered: Vec<&str> = offered.stdout.lines().filter(|word| !word.starts_with('-')).collect();
        assert_eq!(offered, verbs(&host, &program), "{name}");
    }
}
