//! The list of jobs, their tickets, and the store they are kept in.

mod damage;
mod list;
pub mod room;
mod tickets;

use serde_json::{Value, json};

use crate::rig::{Barman, Server, Site, StandIn, User};

/// A site with a stand-in and a user who may do everything.
fn site(stand_in: &StandIn, settings: &[&str]) -> Site {
    let site = Site::new(&Barman::StandIn(stand_in), settings);
    site.user("ada", &["--full"]);
    site
}

/// A server of that site.
fn serve(site: &Site) -> Server {
    site.serve()
}

/// A backup that is told from others by its name.
fn backup(name: &str) -> String {
    format!("/barman/backup?server_name=main&name={name}")
}

/// One page of the list.
#[track_caller]
fn page(user: &User<'_>, query: &str) -> Value {
    user.get(&format!("/history/list?{query}"))
        .expect(200)
        .json()
}

/// The tickets of a page.
fn tickets(page: &Value) -> Vec<String> {
    let list = page["list"].as_array().unwrap();
    let text = |item: &Value| item["ticket"].as_str().unwrap().to_owned();
    list.iter().map(text).collect()
}

/// How often a backup of this name was started.
fn starts_of(stand_in: &StandIn, name: &str) -> usize {
    let word = json!(format!("--name={name}"));
    let starts = stand_in.starts();
    let of = |start: &&Value| start["argv"].as_array().unwrap().contains(&word);
    starts.iter().filter(of).count()
}
