//! The routes as a client sees them: through a client without a socket, and over a real socket where
//! the bytes on the wire matter.

mod answers;
mod client;
mod log;
mod pgbackupapi;
mod play;
mod socket;
mod stop;
mod walk;
mod wire;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::Method;
use serde_json::{Value as Json, json};

use super::reply::envelope;
use super::*;
use crate::dispatch::{Body, RefusalKind};
use client::{Answer, Asking, Client, FORM, Header, JSON, PLAIN};
use play::{ANN, ANN_TOKEN, BOB_TOKEN, Play, REFUSALS};
use socket::{Raw, Server};

fn app(play: &Arc<Play>) -> App {
    App {
        auth: Arc::clone(play) as Arc<dyn Identify>,
        door: Arc::clone(play) as Arc<dyn Door>,
        operations: Arc::clone(play) as Arc<dyn Operations>,
        config: Arc::clone(play) as Arc<dyn Configuration>,
        own_config: Arc::clone(play) as Arc<dyn Configuration>,
        requests: Arc::new(Live::new(RequestRules {
            query_token: true,
            get_changes: true,
            body_time: Duration::from_secs(30),
        })),
        local_user: None,
        traffic: Arc::default(),
    }
}

/// A client without a socket, and the parts it reaches.
fn local(change: impl FnOnce(&mut App)) -> (Client, Arc<Play>) {
    let play = Arc::new(Play::default());
    let mut app = app(&play);
    change(&mut app);
    (Client::new(app), play)
}

#[test]
fn the_body_of_a_reply_is_json() {
    let Body::Json(body) = envelope("m", &json!([1])).body else {
        panic!("no document")
    };
    assert_eq!(
        body,
        json!({"status_code": 200, "message": "m", "list": [1]})
    );
}
