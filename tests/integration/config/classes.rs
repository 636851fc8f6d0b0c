//! Every key of the list, by what a change of it can do.

use super::*;

/// The list that is built into the binary, read anew.
const LIST: &str = include_str!("../../../share/config-keys.conf");

/// A key as the list has it.
struct Key {
    class: &'static str,
    name: &'static str,
    form: &'static str,
    places: &'static str,
}

fn keys() -> Vec<Key> {
    let mut class = "";
    let mut keys = Vec::new();
    for line in LIST.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            class = name.trim_end_matches(']');
            continue;
        }
        let (name, rest) = line.split_once(" = ").unwrap();
        let mut words = rest.split(' ');
        keys.push(Key {
            class,
            name,
            form: words.next().unwrap(),
            places: words.next().unwrap(),
        });
    }
    assert!(keys.len() > 120, "{}", keys.len());
    keys
}

impl Key {
    /// Whether nobody may change it unless `unlock` names it.
    fn is_locked(&self) -> bool {
        ["executes", "paths", "network"].contains(&self.class)
    }

    /// A section that Barman looks for it in.
    fn section(&self) -> &'static str {
        match self.places {
            "global" => "barman",
            "model" => "main:m1",
            _ if self.name.starts_with("backup_compression") => "main",
            // It copies files itself, so hardly a key of it depends on another.
            _ => "other",
        }
    }

    /// A value that Barman takes.
    fn value(&self) -> &'static str {
        match self.name {
            // What fits the rest of the server.
            "archiver" | "active" | "autogenerate_manifest" | "model" => return "true",
            "backup_method" => return "local-rsync",
            "backup_options" => return "concurrent_backup",
            "compression" => return "gzip",
            // The five of them must go together.
            "backup_compression" => return "zstd",
            "backup_compression_format" => return "tar",
            "backup_compression_location" => return "server",
            "log_level" => return "DEBUG",
            "log_format" => return "%(asctime)s %(message)s",
            "custom_compression_magic" => return "0x28b52ffd",
            "aws_snapshot_lock_expiration_date" => return "2030-01-01T00:00:00.000Z",
            _ => {}
        }
        match self.form.trim_end_matches('?') {
            "text" | "names" => "some",
            "compression-level" => "low",
            "tablespace-limits" => "a:1",
            "path" | "absolute-path" | "path-or-url" => "/srv/x",
            "boolean" | "plain-boolean" => "false",
            "integer" | "count" => "2",
            "size" => "1G",
            "interval" => "1 DAYS",
            "retention-policy" => "REDUNDANCY 2",
            "log-level" => "INFO",
            "slot-name" => "barman",
            "fixed" => "no",
            words => {
                let (_, words) = words.split_once(':').unwrap();
                words.split('|').next().unwrap()
            }
        }
    }
}

/// What a change of each key can do, apart from those that run programs and those that move the
/// installation: a key that gets into another class by mistake opens a door.
const CLASSES: [(&str, &str); 4] = [
    (
        "paths",
        "backup_directory basebackups_directory cloud_staging_directory errors_directory \
         incoming_wals_directory local_staging_path recovery_staging_path staging_path \
         streaming_wals_directory wals_directory xlogdb_directory",
    ),
    (
        "network",
        "aws_encryption aws_profile aws_region aws_sse_kms_key_id azure_credential \
         azure_resource_group azure_subscription_id conninfo encryption_key_id gcp_project gcp_zone \
         primary_conninfo snapshot_disks snapshot_gcp_project snapshot_instance snapshot_provider \
         snapshot_zone streaming_archiver_name streaming_backup_name streaming_conninfo \
         wal_conninfo wal_streaming_conninfo",
    ),
    (
        "data",
        "active archiver archiver_batch_size autogenerate_manifest aws_check_object_lock \
         aws_snapshot_lock_cool_off_period aws_snapshot_lock_duration \
         aws_snapshot_lock_expiration_date aws_snapshot_lock_mode backup_method backup_options \
         cloud_delete_batch_size cluster combine_mode compression create_slot \
         custom_compression_magic disabled encryption forward_config_path last_backup_maximum_age \
         last_backup_minimum_size last_wal_maximum_age lock_directory_cleanup log_format log_level \
         max_incoming_wals_queue minimum_redundancy model recovery_options retention_policy \
         retention_policy_mode reuse_backup slot_name staging_location streaming_archiver \
         streaming_archiver_batch_size wal_retention_policy warehousepg_dbid worm_mode",
    ),
    (
        "tuning",
        "aws_await_snapshots_timeout aws_read_timeout backup_compression \
         backup_compression_format backup_compression_level backup_compression_location \
         backup_compression_workers bandwidth_limit basebackup_retry_sleep \
         basebackup_retry_times check_timeout cloud_staging_max_size \
         cloud_upload_max_archive_size cloud_upload_min_chunk_size cloud_wal_archive_parallel \
         cloud_wal_restore_parallel compression_level description immediate_checkpoint \
         keepalive_interval network_compression parallel_jobs parallel_jobs_start_batch_period \
         parallel_jobs_start_batch_size primary_checkpoint_timeout tablespace_bandwidth_limit",
    ),
];

#[test]
fn every_key_is_in_the_class_of_what_it_can_do() {
    for (class, names) in CLASSES {
        let keys = keys().into_iter().filter(|key| key.class == class);
        let mut found: Vec<_> = keys.map(|key| key.name).collect();
        found.sort_unstable();
        let names: Vec<_> = names.split_whitespace().collect();
        assert_eq!(found, names, "[{class}]");
    }
}

/// Every way to ask for a change of a key.
fn ask(user: &User<'_>, key: &str) -> Vec<(String, Answer)> {
    let mut answers = Vec::new();
    for section in ["main", "barman", "new", "main:m1"] {
        let name = format!("{section}.{key}");
        let body = json!({name.as_str(): "id", "create": true});
        answers.push((format!("{body}"), change_with(user, "\"x\"", &body)));
        let loud = format!("{section}.{}", key.to_ascii_uppercase());
        let target = format!("/config/barman/change?{loud}=id&create=true");
        answers.push((target.clone(), user.get(&target)));
        let form = format!("unset={loud}");
        answers.push((form.clone(), user.form("/config/barman/change", &form)));
        let body = json!({"main.parallel_jobs": 2, name.as_str(): "id", "dry_run": true});
        let answer = user.post("/config/barman/change", &body);
        answers.push((format!("{body}"), answer));
    }
    answers
}

#[test]
fn every_key_that_opens_a_door_is_refused_while_it_is_locked_in_every_spelling() {
    let desk = Desk::here(&[]);
    let before = desk.files.all();
    let (admin, dba) = (desk.admin(), desk.server.login("dba"));
    let mut count = 0;
    for key in keys() {
        let words = match key.class {
            _ if key.is_locked() => "unlock",
            "installation" => "never",
            _ => continue,
        };
        for user in [&admin, &dba] {
            for (asked, answer) in ask(user, key.name) {
                let told = answer.clone().expect(403).json()["message"].to_string();
                assert!(told.contains(words), "{asked}: {told}");
                assert!(told.contains(key.name), "{asked}: {told}");
                count += 1;
            }
        }
    }
    assert_eq!(desk.files.all(), before);
    eprintln!("{count} requests were refused");
}

#[test]
fn what_is_unlocked_is_for_those_with_full_access_and_the_installation_for_nobody() {
    let all = keys();
    let locked = all.iter().filter(|key| key.is_locked());
    let names: Vec<_> = locked.clone().map(|key| key.name).collect();
    let unlock = format!("config.unlock = {}", names.join(", "));
    let desk = Desk::here(&[&unlock]);
    let before = desk.files.all();
    let (admin, dba) = (desk.admin(), desk.server.login("dba"));
    for key in locked {
        for (asked, answer) in ask(&dba, key.name) {
            let told = answer.expect(403).json()["message"].to_string();
            assert!(told.contains("full access"), "{asked}: {told}");
        }
        // With full access it is a key like others, and the tag is looked at.
        let name = format!("{}.{}", key.section(), key.name);
        let body = json!({name: key.value(), "create": true});
        change_with(&admin, "\"x\"", &body).expect(412);
    }
    for key in all.iter().filter(|key| key.class == "installation") {
        for (asked, answer) in ask(&admin, key.name) {
            let told = answer.expect(403).json()["message"].to_string();
            assert!(told.contains("never"), "{asked}: {told}");
        }
    }
    assert_eq!(desk.files.all(), before);
}

#[test]
fn every_key_that_can_lose_data_wants_the_tag_of_what_was_seen() {
    let desk = Desk::here(&[]);
    let dba = desk.server.login("dba");
    let before = desk.files.all();
    let data: Vec<_> = keys()
        .into_iter()
        .filter(|key| key.class == "data")
        .collect();
    let mut wanted = serde_json::Map::new();
    for key in &data {
        let (name, fixed) = (
            format!("{}.{}", key.section(), key.name),
            key.form == "fixed",
        );
        let mut body = json!({name.as_str(): key.value(), "create": true});
        if key.places == "model" {
            body["main:m1.cluster"] = "other".into();
        }
        let answer = dba.post("/config/barman/change", &body);
        let status = if fixed || key.name == "log_format" {
            400
        } else {
            428
        };
        assert_eq!(answer.status, status, "{name} {answer:?}");
        if fixed || key.name == "log_format" {
            continue;
        }
        assert!(answer.json()["message"].to_string().contains("If-Match"));
        change_with(&dba, "\"0000\"", &body).expect(412);
        let unset = json!({"unset": name.as_str()});
        let answer = dba.post("/config/barman/change", &unset);
        let missing = if key.places == "model" { 404 } else { 428 };
        assert_eq!(answer.status, missing, "{name} {answer:?}");
        let spelled = format!(
            "/config/barman/change?{}.{}={}&create=true",
            key.section(),
            key.name.to_ascii_uppercase(),
            key.value().replace(' ', "+")
        );
        dba.get(&spelled).expect(428);
        wanted.insert(name, key.value().into());
    }
    assert_eq!(desk.files.all(), before);
    // With the right one whoever may call the route makes them all.
    wanted.insert("main:m1.cluster".to_owned(), "other".into());
    wanted.insert("main:m1.model".to_owned(), "true".into());
    wanted.insert("create".to_owned(), true.into());
    let answer = change(&dba, &Value::Object(wanted.clone()))
        .expect(200)
        .json();
    desk.files.barman(&["list-servers"]);
    let audit = desk.audit();
    let line = audit.iter().rfind(|line| line["event"] == "config_change");
    let line = line.unwrap();
    assert_eq!(line["user"], "dba");
    assert_eq!(line["ticket"], answer["revision"]);
    // A long text is cut there; the revision that it names has all of it.
    let told = line["outcome"].as_str().unwrap().trim_end_matches('…');
    assert!(told.len() >= 500, "{told}");
    let revision = answer["revision"].as_str().unwrap();
    let revision = dba.get(&format!("/config/barman/revisions/{revision}"));
    let revision = revision.expect(200).json();
    let changed = revision["list"]["changed"].as_array().unwrap();
    let names: Vec<_> = changed.iter().map(|name| name.as_str().unwrap()).collect();
    assert!(names.join(", ").starts_with(told), "{told}");
    for key in &data {
        let name = format!("{}.{}", key.section(), key.name);
        let Some(value) = wanted.get(&name) else {
            continue;
        };
        assert_eq!(answer["list"][key.section()][key.name], *value, "{name}");
        let was_so = name == "other.backup_method";
        assert_eq!(names.contains(&name.as_str()), !was_so, "{name}");
    }
    assert!(changed.len() > 30, "{changed:?}");
}

#[test]
fn every_key_that_only_tunes_is_free_to_whoever_may_call_the_route() {
    let desk = Desk::here(&[]);
    let dba = desk.server.login("dba");
    let mut wanted = serde_json::Map::new();
    for key in keys().iter().filter(|key| key.class == "tuning") {
        let name = format!("{}.{}", key.section(), key.name);
        wanted.insert(name, key.value().into());
    }
    let count = wanted.len();
    let answer = dba.post("/config/barman/change", &Value::Object(wanted));
    let answer = answer.expect(200).json();
    assert_eq!(answer["changed"].as_array().unwrap().len(), count);
    desk.files.barman(&["list-servers"]);
}

#[test]
fn what_a_reload_unlocks_or_locks_counts_at_once_for_rollbacks_too() {
    let desk = Desk::here(&[]);
    let admin = desk.admin();
    let file = desk.site.file("barmanapi.conf");
    let text = fs::read_to_string(&file).unwrap();
    let reload = |unlock: &str| {
        let text = format!("{text}\n[config]\nunlock = {unlock}\n");
        Lab::get().write(&file, &text, 0o600);
        let output = desk.site.run(&["reload"], "");
        assert!(output.status.success(), "{output:?}");
    };
    let body = json!({"other.streaming_backup_name": "mine"});
    admin.post("/config/barman/change", &body).expect(403);
    reload("conninfo, streaming_backup_name");
    let made = admin.post("/config/barman/change", &body).expect(200);
    let revision = json!({"revision": made.json()["revision"]});
    let now = desk.files.all();
    reload("conninfo");
    let unset = json!({"unset": "other.streaming_backup_name"});
    admin.post("/config/barman/change", &unset).expect(403);
    let answer = admin.post("/config/barman/rollback", &revision);
    let told = answer.expect(403).json()["message"].to_string();
    assert!(told.contains("other.streaming_backup_name"), "{told}");
    assert_eq!(desk.files.all(), now);
    reload("Streaming_Backup_Name");
    admin.post("/config/barman/rollback", &revision).expect(200);
    let lines = desk.audit();
    let back = lines
        .iter()
        .rfind(|line| line["event"] == "config_rollback");
    assert_eq!(back.unwrap()["outcome"], "other.streaming_backup_name");
    let refused = lines.iter().filter(|line| line["event"] == "refused");
    assert_eq!(refused.count(), 3);
}
