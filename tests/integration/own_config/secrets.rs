//! What of our own file nobody sees.

use super::*;

#[test]
fn no_secret_of_ours_is_ever_shown() {
    let desk = Desk::new();
    let dba = desk.dba();
    // The lines around a change are shown with it.
    let body = json!({"auth_token.token_life": 60, "auth_token.algorithm": "HS384"});
    let changed = change(&dba, &body).expect(200);
    let id = changed.json()["revision"].as_str().unwrap().to_owned();
    let shown = dba.get("/config/barmanapi").expect(200);
    assert_eq!(shown.json()["list"]["auth_token"]["secret"], "*REDACTED*");
    let back = json!({"revision": id, "dry_run": true});
    for answer in [
        changed,
        shown,
        dba.get("/config/barmanapi/revisions").expect(200),
        dba.get(&format!("/config/barmanapi/revisions/{id}"))
            .expect(200),
        dba.post("/config/barmanapi/rollback", &back).expect(200),
    ] {
        let text = answer.json().to_string();
        assert!(!text.contains(&SECRET[..12]), "{text}");
    }
    for log in ["general.log", "audit.log"] {
        let text = fs::read_to_string(desk.server.store().join("logs").join(log)).unwrap();
        assert!(!text.contains(SECRET), "{text}");
    }
}

/// Misspelt, in the line of another key, in another section, commented out over two lines.
#[test]
fn a_secret_that_stands_in_the_wrong_place_is_not_shown_either() {
    const STRAY: &str = "hunter2hunter2";
    let desk = Desk::new();
    let dba = desk.dba();
    let good = desk.text();
    let comment = format!("# secret = {STRAY}\n#   {STRAY}\n; secert: {STRAY}\n# {STRAY}\n");
    let commented = good.replace("[target:a]", &format!("{comment}\n[target:a]"));
    Lab::get().write(&desk.file(), &commented, 0o600);
    let changed = change(&dba, &json!({"auth_token.token_life": 60})).expect(200);
    let id = changed.json()["revision"].as_str().unwrap().to_owned();
    let diff = changed.json()["diff"].as_str().unwrap().to_owned();
    assert!(diff.contains(" #   *REDACTED*\n"), "{diff}");
    let back = json!({"revision": id, "dry_run": true});
    let mut answers = vec![
        changed,
        dba.get(&format!("/config/barmanapi/revisions/{id}"))
            .expect(200),
        dba.post("/config/barmanapi/rollback", &back).expect(200),
    ];
    for line in [
        "[auth_token]\nsecert = STRAY\n",
        "[auth_token]\nalgorithm = STRAY\n",
        "[auth_token]\ntoken_life = STRAY\n",
        "[application]\nstore_directory = STRAY\n",
        "[application]\nhost = STRAY\n",
        "[barman]\nsecret = STRAY\n",
        "[auth_token]\nalgorithm =\nSTRAYSTRAYSTRAY==\n",
        "[barman]\nasync_command = backup, STRAY/x\n",
        "[barman]\nremote = true\nremote_ssh = STRAY\n",
        "[nowhere]\nmax_jobs = STRAY\n",
        "[DEFAULT]\nmax_jobs = STRAY\n",
        "[target:b]\nssh_command = STRAY\n",
    ] {
        let section = line.lines().next().unwrap();
        let rest = line.strip_prefix(section).unwrap().replace("STRAY", STRAY);
        let text = if good.contains(section) {
            good.replacen(section, &format!("{section}{rest}"), 1)
        } else {
            format!("{good}\n{section}{rest}")
        };
        Lab::get().write(&desk.file(), &text, 0o600);
        let shown = dba.get("/config/barmanapi").expect(200);
        let problems = shown.json()["problems"].to_string();
        assert!(problems.contains(section), "{line} {problems}");
        answers.push(shown);
        answers.push(change(&dba, &json!({"barman.max_jobs": 3})).expect(409));
        answers.push(dba.post("/config/barmanapi/rollback", &back).expect(409));
    }
    for answer in answers {
        let text = answer.json().to_string();
        assert!(!text.contains(STRAY), "{text}");
    }
    let log = fs::read_to_string(desk.server.store().join("logs/general.log")).unwrap();
    assert!(!log.contains(STRAY), "{log}");
}

#[test]
fn every_secret_that_can_be_in_the_file_is_hidden() {
    let desk = Desk::new();
    let text = desk.text();
    let with = text.replacen(
        "[user]\n",
        "[user]\nsecret = pepper-HUNTER\n# secret = HUNTER-old\n",
        1,
    );
    assert_ne!(text, with);
    Lab::get().write(&desk.file(), &with, 0o600);
    let dba = desk.dba();
    let shown = dba.get("/config/barmanapi").expect(200).json();
    assert_eq!(shown["list"]["user"]["secret"], "*REDACTED*");
    let near = json!({"user.config_file": "/x", "dry_run": true});
    let body = json!({"application.debug": true});
    let changed = change(&dba, &body).expect(200).json();
    let told = format!("{shown}{changed}{}", message(&change(&dba, &near)));
    assert!(!told.contains("HUNTER"), "{told}");
    change(&dba, &json!({"user.secret": "x"})).expect(403);
    for name in ["logs/general.log", "logs/audit.log"] {
        let log = fs::read_to_string(desk.server.store().join(name)).unwrap();
        assert!(!log.contains("HUNTER"), "{log}");
    }
}
