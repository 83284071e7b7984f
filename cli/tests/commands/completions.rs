//! `completions`, `man`.

use crate::support::{Place, run};

#[test]
fn every_shell_has_a_script_that_knows_commands_and_nothing_hidden() {
    let place = Place::empty();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(place.folder.path(), &["completions", shell]).expect(0).out;
        for known in ["config", "completions", "years"] {
            assert!(script.contains(known), "{shell}: {known} is missing in {script}");
        }
        for hidden in ["demo-worker", "demo__worker", "lose-a-record"] {
            assert!(!script.contains(hidden), "{shell}: {hidden} is hidden, and stands in {script}");
        }
    }
    run(place.folder.path(), &["completions", "csh"]).expect(2);
    let help = run(place.folder.path(), &["completions", "--help"]).expect(0).out;
    assert!(help.contains("~/.config/fish/completions/bedload.fish"), "{help}");
}

#[test]
fn bash_completes_with_what_it_was_given() {
    let place = Place::empty();
    let script = run(place.folder.path(), &["completions", "bash"]).expect(0).out;
    std::fs::write(place.path("script"), script).unwrap();
    let asked =
        "source ./script; COMP_WORDS=(bedload co); COMP_CWORD=1; _bedload bedload co bedload; echo ${COMPREPLY[@]}";
    let mut bash = std::process::Command::new("bash");
    let output = bash.args(["--norc", "-c", asked]).current_dir(place.folder.path()).output().unwrap();
    let found = String::from_utf8_lossy(&output.stdout);
    assert_eq!(found.split_whitespace().collect::<Vec<_>>(), ["copy", "config", "completions"], "{output:?}");
}

#[test]
fn each_command_has_a_page() {
    let place = Place::empty();
    let page = run(place.folder.path(), &["man"]).expect(0).out;
    for told in [".TH bedload 1", "bedload\\-ls(1)", "12 credentials"] {
        assert!(page.contains(told), "{told:?} is missing in {page}");
    }
    assert!(!page.contains("demo\\-worker"), "{page}");

    let ran = run(place.folder.path(), &["man", "--to", "share/man1"]).expect(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
    let mut names: Vec<String> = std::fs::read_dir(place.path("share/man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for name in ["bedload.1", "bedload-config.1", "bedload-config-show.1", "bedload-demo.1", "bedload-man.1"] {
        assert!(names.iter().any(|found| found == name), "{name} is missing among {names:?}");
    }
    assert!(names.iter().all(|name| name.ends_with(".1") && !name.contains("worker")), "{names:?}");
    let page = std::fs::read_to_string(place.path("share/man1/bedload-ls.1")).unwrap();
    for told in [".SH NOTES", "Examples:", "\\-\\-json"] {
        assert!(page.contains(told), "{told:?} is missing in {page}");
    }

    std::fs::write(place.path("file"), "").unwrap();
    let ran = run(place.folder.path(), &["man", "--to", "file"]).expect(2);
    assert!(ran.err.contains("file"), "{}", ran.err);
}
