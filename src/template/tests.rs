//! Go's own examples (pkg.go.dev/text/template, "Examples" and exec_test.go) and the formats of docs.docker.com.

use super::*;

const DATA: &str = r#"{
    "Name": "web", "Id": 7, "On": true, "Off": false, "Nothing": null, "Rate": 1.5, "Empty": "",
    "Ports": [80, 443], "Words": ["b", "a"], "None": [],
    "State": {"Pid": 4121, "Running": true},
    "Labels": {"z": "last", "a": "first", "com.example.key": "v"},
    "Mounts": [{"Source": "/srv", "Ro": false}, {"Source": "/var", "Ro": true}]
}"#;

fn try_fill(template: &str) -> Result<String, String> {
    let data: Value = serde_json::from_str(DATA).unwrap();
    Template::parse(template).and_then(|template| template.fill(&data)).map_err(|problem| problem.to_string())
}

fn fill(template: &str) -> String {
    try_fill(template).unwrap_or_else(|why| panic!("{template}: {why}"))
}

#[test]
fn values_print_as_go_prints_them() {
    for (template, wanted) in [
        ("plain", "plain"),
        ("{{.Name}}", "web"),
        ("{{ .Name }}-{{.Id}}", "web-7"),
        ("{{.State.Pid}}", "4121"),
        ("{{.Ports}}", "[80 443]"),
        ("{{.None}}", "[]"),
        ("{{.State}}", "map[Pid:4121 Running:true]"),
        ("{{.Labels}}", "map[a:first com.example.key:v z:last]"),
        ("{{.Nothing}}", "<no value>"),
        ("{{.Rate}} {{.On}} {{.Off}}", "1.5 true false"),
        ("{{\"output\"}}", "output"),
        ("{{`raw \\n`}}", "raw \\n"),
        ("{{1}} {{-2}} {{1.25}}", "1 -2 1.25"),
        ("{{$.Name}}", "web"),
    ] {
        assert_eq!(fill(template), wanted, "{template}");
    }
}

/// The list of one-line pipelines that text/template's documentation gives, each printing "output" in quotes.
#[test]
fn the_pipelines_of_the_documentation() {
    for template in [
        r#"{{"\"output\""}}"#,
        r#"{{`"output"`}}"#,
        r#"{{printf "%q" "output"}}"#,
        r#"{{"output" | printf "%q"}}"#,
        r#"{{printf "%q" (print "out" "put")}}"#,
        r#"{{"put" | printf "%s%s" "out" | printf "%q"}}"#,
        r#"{{"output" | printf "%s" | printf "%q"}}"#,
        r#"{{with "output"}}{{printf "%q" .}}{{end}}"#,
        r#"{{with $x := "output" | printf "%q"}}{{$x}}{{end}}"#,
        r#"{{with $x := "output"}}{{printf "%q" $x}}{{end}}"#,
        r#"{{with $x := "output"}}{{$x | printf "%q"}}{{end}}"#,
    ] {
        assert_eq!(fill(template), "\"output\"", "{template}");
    }
}

#[test]
fn blocks_choose_and_repeat() {
    for (template, wanted) in [
        ("{{if .On}}yes{{else}}no{{end}}", "yes"),
        ("{{if .Empty}}yes{{else}}no{{end}}", "no"),
        ("{{if .None}}a{{else if .Off}}b{{else if .On}}c{{else}}d{{end}}", "c"),
        ("{{range .Ports}}<{{.}}>{{end}}", "<80><443>"),
        ("{{range $i, $p := .Ports}}{{$i}}={{$p}} {{end}}", "0=80 1=443 "),
        ("{{range $p := .Ports}}{{$p}},{{end}}", "80,443,"),
        ("{{range $k, $v := .Labels}}{{$k}}:{{$v}};{{end}}", "a:first;com.example.key:v;z:last;"),
        ("{{range .None}}x{{else}}empty{{end}}", "empty"),
        ("{{range .Nothing}}x{{else}}empty{{end}}", "empty"),
        ("{{range .Mounts}}{{.Source}} of {{$.Name}} {{end}}", "/srv of web /var of web "),
        ("{{with .State}}{{.Pid}}{{end}}", "4121"),
        ("{{with .Nothing}}x{{else}}nothing in {{.Name}}{{end}}", "nothing in web"),
        ("{{$x := .Name}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "2web"),
        ("{{23 -}} < {{- 45}}", "23<45"),
        ("a {{- /* a comment */ -}} b", "ab"),
        ("a{{/* don't }} \" ` */}} b{{/**/}}", "a b"),
        ("{{/* a */ -}}\n b", "b"),
        ("{{range .Mounts}}{{if .Ro}}{{.Source}}{{end}}{{end}}", "/var"),
    ] {
        assert_eq!(fill(template), wanted, "{template}");
    }
}

#[test]
fn functions_of_go_and_of_docker() {
    for (template, wanted) in [
        ("{{json .State}}", r#"{"Pid":4121,"Running":true}"#),
        ("{{json .Labels}}", r#"{"z":"last","a":"first","com.example.key":"v"}"#),
        ("{{json .Name}}", r#""web""#),
        ("{{.Ports | json}}", "[80,443]"),
        (r#"{{join .Words ", "}}"#, "b, a"),
        (r#"{{range split "a,b" ","}}{{.}};{{end}}"#, "a;b;"),
        ("{{upper .Name}} {{lower \"ABC\"}} {{title \"hello world\"}}", "WEB abc Hello World"),
        ("[{{pad .Name 1 2}}]", "[ web  ]"),
        ("{{truncate .Name 2}}", "we"),
        (r#"{{index .Labels "com.example.key"}}"#, "v"),
        (r#"{{index .Labels "missing"}}"#, ""),
        ("{{index .Ports 1}}", "443"),
        ("{{(index .Mounts 0).Source}}", "/srv"),
        (r#"{{index .Mounts 1 "Source"}}"#, "/var"),
        ("{{len .Ports}} {{len .Name}}", "2 3"),
        ("{{slice .Name 1}} {{slice .Ports 0 1}}", "eb [80]"),
        ("{{println \"a\" 1}}|", "a 1\n|"),
        ("{{print 1 2 \"x\" 3}}", "1 2x3"),
        ("{{printf \"%5s|%-5d|%v|%x\" .Name .Id .Ports 255}}", "  web|7    |[80 443]|ff"),
        ("{{eq .Id 7}} {{eq .Name \"a\" \"web\"}} {{ne .Id 7}}", "true true false"),
        ("{{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge \"b\" \"a\"}}", "true true false true"),
        ("{{and .On .Name}} {{or .Empty .Id}} {{not .Off}}", "web 7 true"),
        ("{{and .Off .Name}} {{or .Empty .Off}}", "false false"),
        ("{{html \"<a&b>\"}} {{urlquery \"a b&c\"}}", "&lt;a&amp;b&gt; a+b%26c"),
    ] {
        assert_eq!(fill(template), wanted, "{template}");
    }
}

#[test]
fn what_does_not_make_sense_is_said() {
    for (template, why) in [
        ("{{.Nmae}}", "--format: there is no field Nmae"),
        ("{{.Name.First}}", "--format: there is no field First"),
        ("{{", "--format {{: an action is not closed: }} is missing"),
        ("{{}}", "--format {{}}: an action is empty"),
        ("{{if .On}}x", "--format {{if .On}}x: {{if}} has no {{end}}"),
        ("{{end}}", "--format {{end}}: {{end}} without a block"),
        ("{{fly .}}", "--format {{fly .}}: there is no function fly"),
        ("{{.Name 1}}", "--format: only a function takes arguments"),
        ("{{$x}}", "--format: there is no variable $x"),
        ("{{(.Name}}", "--format {{(.Name}}: a bracket is not closed"),
        ("{{\"a}}", "--format {{\"a}}: an action is not closed: }} is missing"),
        ("{{index .Ports 9}}", "--format: index 9 is out of range"),
        ("{{range .Name}}{{end}}", "--format: range cannot go over web"),
        ("{{/* a", "--format {{/* a: a comment is not closed: */ is missing"),
        ("{{/* a */ .Id}}", "--format {{/* a */ .Id}}: behind a comment stands }} alone"),
        ("{{len .Id}}", "--format: len cannot take what it is given"),
        ("{{printf \"%1000001s\" .Name}}", "--format: printf: the width of %1000001s is too large"),
        ("{{pad .Name 99999999999999 0}}", "--format: pad cannot take what it is given"),
    ] {
        assert_eq!(try_fill(template).unwrap_err(), why, "{template}");
    }
}

/// `docker network ls` of docker-ce 20.10 on a fresh machine, with its spaces.
#[test]
fn a_table_has_dockers_columns() {
    let row = |id: &str, name: &str, driver: &str| {
        Value::of_fields(
            [("ID", id), ("Name", name), ("Driver", driver), ("Scope", "local")].map(|(k, v)| (k, v.to_owned())),
        )
    };
    let rows = [
        row("7fca4eb8c647", "bridge", "bridge"),
        row("9f904ee27bf5", "none", "null"),
        row("cf03ee007fb4", "host", "host"),
    ];
    let networks = List {
        titles: &[("ID", "NETWORK ID"), ("Name", "NAME"), ("Driver", "DRIVER"), ("Scope", "SCOPE")],
        shown: &["ID", "Name", "Driver", "Scope"],
        rows: &rows,
    };
    assert_eq!(
        list(&networks, None).unwrap(),
        "NETWORK ID     NAME      DRIVER    SCOPE\n\
         7fca4eb8c647   bridge    bridge    local\n\
         9f904ee27bf5   none      null      local\n\
         cf03ee007fb4   host      host      local\n"
    );
    assert_eq!(list(&networks, Some("{{.Name}}: {{.Driver}}")).unwrap(), "bridge: bridge\nnone: null\nhost: host\n");
    assert_eq!(
        list(&networks, Some(r"table {{upper .Name}}\t{{.ID}}")).unwrap(),
        "NAME      NETWORK ID\nBRIDGE    7fca4eb8c647\nNONE      9f904ee27bf5\nHOST      cf03ee007fb4\n"
    );
    let json = list(&networks, Some("json")).unwrap();
    assert_eq!(json.lines().next(), Some(r#"{"ID":"7fca4eb8c647","Name":"bridge","Driver":"bridge","Scope":"local"}"#));
}

/// One label of an image, or all of its ports, can be wider than what Rust's format! pads to.
#[test]
fn a_cell_may_be_wider_than_a_u16() {
    let wide = "x".repeat(70_000);
    let rows = [Value::of_fields([("Ports", wide.clone()), ("Name", "web".to_owned())])];
    let titles = [("Ports", "PORTS"), ("Name", "NAME")];
    let table = list(&List { titles: &titles, shown: &["Ports", "Name"], rows: &rows }, None).unwrap();
    assert_eq!(table, format!("PORTS{}NAME\n{wide}   web\n", " ".repeat(69_998)));
    assert_eq!(fill("{{printf \"%70000s\" .Name}}").len(), 70_000);
}

/// What docker.io 20.10 answers about a container without any of these.
#[test]
fn what_only_gos_types_know_is_known() {
    let json = r#"{
        "Id": "7", "State": {"Status": "created"}, "ExecIDs": null,
        "Config": {"Labels": {"a": "1"}, "Volumes": null, "Entrypoint": null},
        "HostConfig": {"LogConfig": {"Type": "json-file", "Config": {}}, "PidsLimit": null, "Links": null, "Dns": []},
        "NetworkSettings": {"Ports": {"80/tcp": null}, "Networks": {"none": {"IPAMConfig": null, "DriverOpts": null}}}
    }"#;
    let object = CONTAINER.told_of(serde_json::from_str(json).unwrap());
    let fill = |template: &str| Template::parse(template).unwrap().fill(&object).map_err(|why| why.to_string());
    for (template, wanted) in [
        ("{{.Config.Labels.foo}}|{{if .Config.Labels.foo}}y{{else}}n{{end}}", "<no value>|n"),
        ("{{.Config.Labels.a}}|{{json .Config.Labels.foo}}|{{.Config.Labels.foo.bar}}", "1|null|<no value>"),
        ("{{index .Config.Labels \"foo\"}}|{{eq .Config.Labels.foo \"x\"}}|{{not .Config.Labels.foo}}", "|false|true"),
        ("{{print .Config.Labels.foo}}|{{range .Config.Labels.foo}}x{{else}}e{{end}}", "<nil>|e"),
        ("{{.NetworkSettings.Networks.bridge.IPAddress}}", "<no value>"),
        ("{{.State.Health}}|{{json .State.Health}}|{{if .State.Health}}y{{else}}n{{end}}", "<nil>|null|n"),
        ("{{with .State.Health}}{{.Status}}{{else}}none{{end}}", "none"),
        ("{{.Config.ExposedPorts}}|{{json .Config.ExposedPorts}}|{{len .Config.ExposedPorts}}", "map[]|null|0"),
        ("{{range .Config.ExposedPorts}}x{{else}}e{{end}}", "e"),
        ("{{.HostConfig.Tmpfs}}|{{json .HostConfig.Tmpfs}}|{{.HostConfig.Tmpfs.x}}", "map[]|null|<no value>"),
        ("{{.HostConfig.Sysctls}}|{{.HostConfig.Mounts}}|{{json .HostConfig.Mounts}}", "map[]|[]|null"),
        ("{{.HostConfig.Init}}|{{json .HostConfig.Init}}|{{.HostConfig.PidsLimit}}", "<nil>|null|<nil>"),
        ("[{{.Config.StopSignal}}]|{{json .Config.StopSignal}}|{{.Config.StopTimeout}}", "[]|\"\"|<nil>"),
        ("[{{.Config.MacAddress}}]|{{.Config.Healthcheck}}|{{.Config.NetworkDisabled}}", "[]|<nil>|false"),
        ("{{.Config.Volumes}}|{{.Config.Entrypoint}}|{{.HostConfig.Links}}|{{.ExecIDs}}", "map[]|[]|[]|[]"),
        ("{{join .Config.Entrypoint \" \"}}|{{upper .Config.StopSignal}}|{{.SizeRw}}", "||<nil>"),
        ("{{range $port, $at := .NetworkSettings.Ports}}{{$port}} {{$at}} {{len $at}}{{end}}", "80/tcp [] 0"),
        ("{{range .NetworkSettings.Networks}}{{.IPAMConfig}} {{.DriverOpts}}{{end}}", "<nil> map[]"),
        ("{{.HostConfig.Dns}}|{{.HostConfig.Links}}|{{.HostConfig.PidsLimit}}", "[]|<no value>|<no value>"),
        ("{{.HostConfig.DNS}}|{{.HostConfig.Links}}|{{.HostConfig.PidsLimit}}", "[]|[]|<nil>"),
        (
            "{{.Id}}|{{.Config.Labels.foo}}|{{if .State.Health}}y{{end}}|{{.Config.Entrypoint}}",
            "7|<no value>||<no value>",
        ),
        ("{{.ID}}|{{.Config.Labels.foo}}|{{if .State.Health}}y{{end}}|{{.Config.Entrypoint}}", "7|<no value>||[]"),
        ("{{.State}}|{{json .State}}|{{len .State}}", "map[Status:created]|{\"Status\":\"created\"}|1"),
    ] {
        assert_eq!(fill(template).as_deref(), Ok(wanted), "{template}");
    }
    for wrong in ["{{.State.Nosuch}}", "{{.Config.StopSignl}}", "{{.State.Health.Status}}", "{{.HostConfig.Init.x}}"] {
        assert!(fill(wrong).unwrap_err().contains("there is no field"), "{wrong}");
    }
    assert_eq!(object.json(None), serde_json::from_str::<Value>(json).unwrap().json(None), "the JSON is what it was");
}
