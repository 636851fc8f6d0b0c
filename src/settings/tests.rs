use super::*;

fn read(text: &str) -> Result<Settings, Problems> {
    parse(Path::new("/etc/barmanapi.conf"), text)
}

#[track_caller]
fn refused(text: &str) -> Vec<String> {
    read(text)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn an_empty_file_gives_every_default() {
    let settings = read("").unwrap();
    assert_eq!(settings.user.secret, None);
    let application = &settings.application;
    assert_eq!(
        application.store_directory,
        Path::new("/var/lib/barmanapi/")
    );
    assert_eq!(
        (application.host.to_string().as_str(), application.port),
        ("127.0.0.1", 1935)
    );
    assert!(application.get_changes && !application.debug && !application.insecure);
    assert_eq!(application.keep_months, 0);
    let barman = &settings.barman;
    assert_eq!(
        barman.config_file.as_deref(),
        Some(Path::new("/etc/barman.conf"))
    );
    assert_eq!(barman.command, Path::new("/usr/bin/barman"));
    assert!(!barman.remote && barman.remote_host.is_none() && !barman.any_target);
    let commands: Vec<_> = barman
        .async_command
        .iter()
        .map(CommandName::as_str)
        .collect();
    assert_eq!(commands, ["backup", "cron", "recover"]);
    assert_eq!(barman.sync_timeout, Duration::from_secs(30));
    assert_eq!((barman.job_timeout, barman.job_timeouts.len()), (None, 0));
    assert_eq!(
        (barman.max_jobs, barman.queue, barman.output_limit),
        (4, 1000, 16 << 20)
    );
    assert!(barman.allow_commands.is_empty() && barman.exchange_directory.is_none());
    assert!(settings.targets.is_empty());
    assert_eq!(settings.auth_token.algorithm, Algorithm::Hs256);
    assert_eq!(settings.auth_token.token_life, Duration::from_secs(6000));
    assert!(settings.auth_token.query_token && settings.auth_token.secret.is_none());
    assert_eq!(
        (settings.log.backup_count, settings.log.max_bytes),
        (5, 1_000_000)
    );
    assert_eq!(settings.audit.keep_months, 0);
    assert!(settings.config.unlock.is_empty());
}

#[test]
fn a_configuration_of_barmanapi_is_read_with_its_meaning() {
    let settings = read(
        "#All option is using.\n[user]\nconfig_file=/usr/share/barmanapi/client.conf\n\
         secret=89660c74da48ddd4efbe4d3c8f8150de\n[application]\nstore_directory=/var/lib/barmanapi/\n\
         host=127.0.0.1\nport=8080\ndebug=False\n[barman]\nconfig_file=/etc/barman.conf\n\
         command=/usr/bin/barman\nremote=true\n#If remote is false, you can blank remote_ssh option.\n\
         remote_ssh=ssh barman@backup\nasync_command=['backup','cron','recover']\n[auth_token]\nsecret=\n\
         algorithm=HS256\ntoken_life=6000\n[log]\nbackup_count=5\nmax_bytes=20000",
    )
    .unwrap();
    assert_eq!(
        settings.user.config_file,
        Path::new("/usr/share/barmanapi/client.conf")
    );
    assert_eq!(
        settings.user.secret.as_ref().unwrap().expose(),
        "89660c74da48ddd4efbe4d3c8f8150de"
    );
    assert_eq!(settings.application.port, 8080);
    assert_eq!(settings.barman.remote_host.as_ref().unwrap().host, "backup");
    assert_eq!(settings.log.max_bytes, 20_000);
    assert!(
        !format!("{settings:?}").contains("89660c74"),
        "{settings:?}"
    );
}

#[test]
fn our_own_keys_are_read() {
    let settings = read(
        "[barman]\nconfig_file =\njob_timeout = 2 h\njob_timeout.check = 5 min\nJob_Timeout.backup = 0\n\
         output_limit = 1 MiB\nallow_commands = put-wal\n\
         [target:spare]\ndirectories = /srv/a, /srv/b\n[target:pg2]\nssh_command = ssh postgres@pg2\n\
         directories = ['/var/lib/pgsql']\n[config]\nunlock = Conninfo, backup_directory\n",
    )
    .unwrap();
    let barman = &settings.barman;
    assert_eq!(barman.config_file, None);
    assert_eq!(barman.job_timeout, Some(Duration::from_secs(7200)));
    let timeout = |name: &str| {
        barman
            .job_timeouts
            .get(&CommandName::parse(name).unwrap())
            .copied()
    };
    assert_eq!(timeout("check"), Some(Some(Duration::from_secs(300))));
    assert_eq!(timeout("backup"), Some(None));
    assert_eq!(timeout("restore"), None);
    let [spare, pg2] = settings.targets.as_slice() else {
        unreachable!()
    };
    assert_eq!(
        (
            spare.name.as_str(),
            spare.ssh_command.as_str(),
            spare.directories.len()
        ),
        ("spare", "", 2)
    );
    assert_eq!(
        (pg2.name.as_str(), pg2.ssh_command.as_str()),
        ("pg2", "ssh postgres@pg2")
    );
    assert_eq!(settings.config.unlock, ["conninfo", "backup_directory"]);
}

#[test]
fn every_problem_is_told_at_once_with_its_line_and_what_to_write() {
    let told = refused(
        "[aplication]\nport = 1\n[application]\nport = http\ndebgu = true\ndebug = maybe\nport = 1\ntoken_life = 5\n\
         [target:x]\n[target:..]\n[barman]\ncommand = barman\nremote = yes\njob_timeout.a/b = 1\n",
    );
    assert_eq!(
        told,
        [
            "/etc/barmanapi.conf:1: [aplication] there is no such section; write [application]",
            "/etc/barmanapi.conf:4: [application] port: \"http\" is no port; write a number from 0 to 65535, for example 1935",
            "/etc/barmanapi.conf:5: [application] debgu: there is no such key; write debug",
            "/etc/barmanapi.conf:6: [application] debug: \"maybe\" is neither true nor false; write true or false",
            "/etc/barmanapi.conf:7: [application] port: the key has a value on line 4 already; keep one of the two",
            "/etc/barmanapi.conf:8: [application] token_life: there is no such key; write it in [auth_token]",
            "/etc/barmanapi.conf:9: [target:x] directories: the target has no directories; write for example directories = /srv/restore",
            "/etc/barmanapi.conf:10: [target:..] the section names no target; write [target:NAME], NAME of letters, digits, '.', '_' and '-'",
            "/etc/barmanapi.conf:11: [barman] remote_ssh: \"\" does not begin with ssh; write ssh [-p PORT] [-i FILE] [-o OPTION=VALUE] user@host, without quotes",
            "/etc/barmanapi.conf:12: [barman] command: \"barman\" is not an absolute path; write a path that begins with /",
            "/etc/barmanapi.conf:14: [barman] the name before the = is no key; write KEY = VALUE, or # in front of a comment",
        ]
    );
}

#[test]
fn another_address_than_the_loopback_must_be_asked_for() {
    for host in ["0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1"] {
        let told = refused(&format!("[application]\nhost = {host}\n"));
        assert!(
            told.len() == 1 && told[0].contains(":2:") && told[0].contains("insecure = true"),
            "{told:?}"
        );
        read(&format!("[application]\nhost = {host}\ninsecure = true\n")).unwrap();
        let tls = "[tls]\ncertificate = /etc/x.crt\nkey = /etc/x.key\n";
        read(&format!("[application]\nhost = {host}\n{tls}")).unwrap();
    }
    for host in ["127.0.0.1", "127.1.2.3", "::1", "localhost"] {
        read(&format!("[application]\nhost = {host}\n")).unwrap();
    }
}

#[test]
fn a_weak_or_known_signing_key_is_refused_and_not_told() {
    for secret in [
        "Deneme",
        "89660c74da48ddd4efbe4d3c8f8150de",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        let told = refused(&format!("[auth_token]\nsecret = {secret}\n"));
        assert!(
            told.len() == 1 && told[0].contains(":2: [auth_token] secret:"),
            "{told:?}"
        );
        assert!(!told[0].contains(secret), "{told:?}");
    }
    let good = "Vn3xq0ZK7u1mT9bL5cR8wY2eS6dF4gHj";
    assert_eq!(
        read(&format!("[auth_token]\nsecret = {good}\n"))
            .unwrap()
            .auth_token
            .secret
            .unwrap()
            .expose(),
        good
    );
}

#[test]
fn a_remote_barman_needs_a_way_to_it() {
    for line in [
        "",
        "remote_ssh =\n",
        "remote_ssh = ssh -o ProxyCommand=id a@b\n",
    ] {
        let told = refused(&format!("[barman]\nremote = true\n{line}"));
        assert!(
            told.len() == 1 && told[0].contains("[barman] remote_ssh:"),
            "{told:?}"
        );
    }
    // It does not matter while Barman is here.
    assert_eq!(
        read("[barman]\nremote_ssh = whatever\n")
            .unwrap()
            .barman
            .remote_host,
        None
    );
}

#[test]
fn keys_that_move_the_installation_are_never_unlocked() {
    let told = refused("[config]\nunlock = conninfo, BARMAN_HOME\n");
    assert!(
        told.len() == 1 && told[0].contains("barman_home"),
        "{told:?}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.conf");
    assert!(
        load(&path)
            .unwrap_err()
            .to_string()
            .contains("x.conf: the file can't be read")
    );
    std::fs::write(&path, b"[user]\n# \xff\n").unwrap();
    assert!(
        load(&path)
            .unwrap_err()
            .to_string()
            .contains("x.conf:2: the line is not UTF-8")
    );
}

#[test]
fn the_sample_is_what_the_table_says_and_has_every_default() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/barmanapi.conf");
    if std::env::var_os("WRITE_REFERENCE").is_some() {
        std::fs::write(&path, super::sample()).unwrap();
    }
    let sample = std::fs::read_to_string(&path).unwrap();
    let sample = sample.as_str();
    assert_eq!(
        sample,
        super::sample(),
        "write it anew: WRITE_REFERENCE=1 cargo test --lib settings"
    );
    let read_sample = read(sample).unwrap();
    assert_eq!(
        Settings {
            user: read("").unwrap().user,
            ..read_sample.clone()
        },
        read("").unwrap()
    );
    assert_eq!(
        read_sample.user.config_file,
        Path::new("/etc/barmanapi/client.conf")
    );
    for key in keys::KEYS {
        let line = format!("{} = {}", key.name, key.default);
        let named = sample
            .lines()
            .any(|found| found.trim_start_matches('#').trim() == line.trim());
        assert!(named, "{line}");
        assert!(
            keys::SECTIONS
                .iter()
                .any(|(section, _)| *section == key.section),
            "{}",
            key.section
        );
        assert!(
            !key.about.is_empty()
                && (key.default.is_empty()
                    || value::Value::parse(key.kind, key.default, false).is_ok())
        );
    }
    // The shown target is a whole one once a directory is named.
    let shown = sample
        .replace("#[target:NAME]", "[target:NAME]")
        .replace("#directories =", "directories = /srv/restore")
        .replace("#ssh_command", "ssh_command");
    assert_eq!(read(&shown).unwrap().targets.len(), 1);
}

#[test]
fn the_reference_has_a_row_for_every_key() {
    let text = reference();
    assert_eq!(text.lines().count(), keys::KEYS.len() + 2);
    assert!(
        text.lines()
            .all(|line| line.matches(" | ").count() == 6 || line.starts_with("|---")),
        "{text}"
    );
    assert!(
        text.contains("| auth_token | `secret` | text | (generated) |"),
        "{text}"
    );
}

#[test]
fn the_documentation_holds_the_reference() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("share/doc/API.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once("<!-- settings:begin -->\n").unwrap();
    let (inside, after) = rest.split_once("<!-- settings:end -->").unwrap();
    if std::env::var_os("WRITE_REFERENCE").is_some() {
        let page = format!(
            "{before}<!-- settings:begin -->\n{}<!-- settings:end -->{after}",
            reference()
        );
        std::fs::write(&path, page).unwrap();
    } else {
        assert_eq!(
            inside,
            reference(),
            "write it anew: WRITE_REFERENCE=1 cargo test --lib settings"
        );
    }
}
