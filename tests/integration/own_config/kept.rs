//! What stays as it is when our own file is changed.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

#[test]
fn mode_owner_and_link_of_our_file_stay() {
    let desk = Desk::new();
    let real = desk.site.file("real.conf");
    fs::rename(desk.file(), &real).unwrap();
    std::os::unix::fs::symlink(&real, desk.file()).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    let before = real.metadata().unwrap();
    change(&desk.dba(), &json!({"barman.max_jobs": 7})).expect(200);
    let after = real.metadata().unwrap();
    assert!(desk.file().symlink_metadata().unwrap().is_symlink());
    assert_eq!(
        (before.mode(), before.uid(), before.gid()),
        (after.mode(), after.uid(), after.gid())
    );
    assert!(desk.text().contains("max_jobs = 7"));
}
