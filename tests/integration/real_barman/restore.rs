//! Restores go where the configuration lets them, and what they restore is a PostgreSQL.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::fixture::Fixture;
use crate::rig::{Lab, ask_restored};

/// A name that no other test has.
fn fresh(name: &str) -> String {
    format!("{name}-{:016x}", getrandom::u64().unwrap())
}

#[test]
fn a_restored_backup_starts_and_holds_the_rows() {
    let fixture = Fixture::get();
    let ada = fixture.ada();
    let lab = Lab::get();
    let directory = Path::new(lab.fact("RESTORE_DIR")).join(fresh("restored"));
    let body = json!({
        "server_name": "main",
        "backup_id": fixture.backup_id,
        "destination_directory": directory,
        "target": "lab",
    });
    // `recover` is the old name, and asynchronous by itself.
    let ticket = ada.post("/barman/recover", &body).ticket();
    let result = ada.finished(&ticket);
    assert_eq!(result["status_code"], 200, "{result}");
    assert_eq!(result["command"], "restore", "{result}");
    let lines = result["list"].as_array().unwrap();
    for line in [
        "Your PostgreSQL server has been successfully prepared for recovery!".to_owned(),
        format!("Destination directory: {}", directory.display()),
    ] {
        assert!(lines.contains(&json!(line)), "{result}");
    }
    for file in ["PG_VERSION", "backup_label", "global/pg_control", "base"] {
        assert!(directory.join(file).exists(), "{file}");
    }
    let query = format!("SELECT count(*) FROM {}", lab.fact("LAB_TABLE"));
    let rows = ask_restored(&directory, &query);
    assert_eq!(rows, lab.fact("LAB_ROWS"));
    // A second one finds the place taken, and Barman says so.
    let ticket = ada.post("/barman/restore", &asynchronous(&body)).ticket();
    let again = ada.finished(&ticket);
    assert_ne!(again["status_code"], 200, "{again}");
    fs::remove_dir_all(directory).unwrap();
}

/// A backup in the catalogue of `main` that has a tablespace, `fast`, which was at this place; it goes
/// with the test. The lab's database has none, which would be in every other test's backups, too.
struct WithTablespace([PathBuf; 2]);

impl WithTablespace {
    const ID: &str = "20200203T040506";

    fn of(backup_id: &str, location: &str) -> Self {
        let home = Path::new(Lab::get().fact("BARMAN_HOME")).join("main");
        let [old, new] = [backup_id, Self::ID].map(|id| {
            let info = format!("meta/{id}-backup.info");
            [home.join("base").join(id), home.join(info)]
        });
        let [old, new] = [&old, &new].map(|paths| paths.each_ref().map(|path| path.display()));
        let script = format!(
            "set -e; cp -a {} {new}; mkdir {new}/16400; echo row >{new}/16400/row; \
             ln -s {location} {new}/data/pg_tblspc/16400; \
             sed \"s|^tablespaces=.*|tablespaces=[('fast', 16400, '{location}')]|\" {} >{info}; \
             grep -q fast {info}",
            old[0],
            old[1],
            new = new[0],
            info = new[1],
        );
        let made = Self([new[0].to_string().into(), new[1].to_string().into()]);
        let output = Lab::get().command("/bin/sh").args(["-c", &script]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        made
    }
}

impl Drop for WithTablespace {
    fn drop(&mut self) {
        let [data, info] = &self.0;
        fs::remove_file(info).unwrap();
        fs::remove_dir_all(data).unwrap();
    }
}

#[test]
fn a_tablespace_does_not_lead_a_restore_out_of_its_target() {
    let fixture = Fixture::get();
    let ada = fixture.ada();
    let lab = Lab::get();
    let allowed = Path::new(lab.fact("RESTORE_DIR"));
    let outside = Path::new(lab.fact("WORK_DIR")).join(fresh("tablespace"));
    let backup = WithTablespace::of(&fixture.backup_id, outside.to_str().unwrap());
    let directory = allowed.join(fresh("with-tablespace"));
    let body = json!({
        "server_name": "main",
        "backup_id": WithTablespace::ID,
        "destination_directory": directory,
        "target": "lab",
        "async": true,
    });
    let told = ada.post("/barman/restore", &body).expect(403).json();
    let words = told["message"].as_str().unwrap();
    for word in ["\"fast\"", outside.to_str().unwrap(), "tablespace=fast:"] {
        assert!(words.contains(word), "{words}");
    }
    assert!(!outside.exists() && !directory.exists());
    // With another place for it the same restore runs.
    let place = allowed.join(fresh("place"));
    let mut relocated = body.clone();
    relocated["tablespace"] = json!(format!("fast:{}", place.display()));
    let result = ada.finished(&ada.post("/barman/restore", &relocated).ticket());
    assert_eq!(result["status_code"], 200, "{result}");
    assert_eq!(fs::read_to_string(place.join("row")).unwrap(), "row\n");
    let link = fs::read_link(directory.join("pg_tblspc/16400")).unwrap();
    assert_eq!(link, place);
    assert!(!outside.exists());
    drop(backup);
    // One that was inside the target may stay there.
    let was = allowed.join(fresh("was"));
    let _backup = WithTablespace::of(&fixture.backup_id, was.to_str().unwrap());
    let second = allowed.join(fresh("with-tablespace"));
    let mut stays = body;
    stays["destination_directory"] = json!(second);
    let result = ada.finished(&ada.post("/barman/restore", &stays).ticket());
    assert_eq!(result["status_code"], 200, "{result}");
    assert_eq!(fs::read_to_string(was.join("row")).unwrap(), "row\n");
    for directory in [directory, place, was, second] {
        fs::remove_dir_all(directory).unwrap();
    }
}

fn asynchronous(body: &Value) -> Value {
    let mut body = body.clone();
    body["async"] = json!(true);
    body
}

#[test]
fn a_restore_elsewhere_is_refused_and_nothing_is_written() {
    let fixture = Fixture::get();
    let bea = fixture.server.login("bea");
    let lab = Lab::get();
    let allowed = lab.fact("RESTORE_DIR");
    let name = fresh("elsewhere");
    let outside = Path::new(lab.fact("WORK_DIR")).join(&name);
    let beside = format!("{allowed}-{name}");
    let up = format!("{allowed}/../{}/{name}", "work");
    let inside = format!("{allowed}/{name}");
    let refused = |body: Value| {
        let answer = bea.post("/barman/restore", &body);
        assert!(
            [400, 403].contains(&answer.status),
            "{body}: {} {}",
            answer.status,
            answer.json()
        );
        answer.json()
    };
    let body = |directory: &str| {
        json!({
            "server_name": "main",
            "backup_id": fixture.backup_id,
            "destination_directory": directory,
            "target": "lab",
        })
    };
    for directory in [
        outside.to_str().unwrap(),
        &beside,
        &up,
        "/",
        "relative",
        &format!("{allowed}/../{name}"),
        lab.fact("PG_DATA"),
    ] {
        refused(body(directory));
    }
    let mut without = body(&inside);
    without.as_object_mut().unwrap().remove("target");
    without["remote_ssh_command"] = json!("ssh somebody@elsewhere");
    refused(without);
    let mut unknown = body(&inside);
    unknown["target"] = json!("nobody");
    refused(unknown);
    let mut other = body(outside.to_str().unwrap());
    other.as_object_mut().unwrap().remove("target");
    let words = refused(other)["message"].as_str().unwrap().to_owned();
    assert!(words.contains("[target:"), "{words}");
    for path in [outside.to_str().unwrap(), &beside, &up, &inside] {
        assert!(!Path::new(path).exists(), "{path}");
    }
    assert!(!Path::new(allowed).parent().unwrap().join(&name).exists());
    // Nothing of it became a job. One that is allowed does.
    let list = bea.get("/history/list?user=bea").expect(200).json();
    assert_eq!(list["list"], json!([]));
    let mut allowed_one = body(&inside);
    allowed_one["backup_id"] = json!("20200101T000000");
    let told = bea.post("/barman/restore", &allowed_one).expect(404).json();
    let words = "server main has no backup \"20200101T000000\"";
    assert_eq!(told["message"], words);
    allowed_one["backup_id"] = json!(fixture.backup_id);
    allowed_one["tablespace"] = json!(format!("nosuch:{allowed}/{name}-ts"));
    let ticket = bea
        .post("/barman/restore", &asynchronous(&allowed_one))
        .ticket();
    bea.finished(&ticket);
    let list = bea.get("/history/list?user=bea").expect(200).json();
    assert_eq!(list["list"][0]["ticket"], *ticket);
}
