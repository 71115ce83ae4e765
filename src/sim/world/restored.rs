//! What runs follows what a backup says: kubelets end pods that it does not know, and start those that it does.
use super::{Commit, Event, World, pods};
use crate::sim::{
    json::Read,
    world::plane::{Cause, Process},
};

/// So long after a backup was put back requests are lost by its doing.
const TURMOIL: u64 = 40_000;

impl World {
    /// One object is as it was.
    pub(super) fn put_back(&mut self, commit: &Commit) {
        let now = self.now();
        self.plane.excuse_until(now + TURMOIL);
        match commit.kind.plural.as_str() {
            "pods" => self.pod_put_back(commit, now),
            "httproutes" => self.look_at_route(&commit.name),
            // Its controller begins anew with what there is, and the Service may have changed just before the backup.
            "endpointslices" => {
                let Some(slice) = commit.after.as_ref().or(commit.before.as_ref()) else { return };
                let range = self.weather.controller;
                self.soon(range, Event::Endpoints(pods::service_of(slice).to_owned()));
            }
            _ => {}
        }
    }

    fn pod_put_back(&mut self, commit: &Commit, now: u64) {
        let (name, weather) = (commit.name.clone(), self.weather.clone());
        let Some(pod) = &commit.after else {
            if let Some(process) = self.plane.processes.get_mut(&name) {
                (process.dead, process.died) = (Some(Cause::Others), Some((now, Cause::Others)));
            }
            return;
        };
        if pod.is_ending() {
            return self.soon(weather.end, Event::PodEnds(name));
        }
        let runs = self.plane.processes.get(&name).is_some_and(|process| process.dead.is_none());
        if runs && commit.before.is_some() {
            // It was never interrupted: its kubelet says again that it is ready.
            return self.soon(weather.controller, Event::PodReady(name, true));
        }
        self.fails(&name);
        if pods::Image::of(pods::image_of(pod)) != pods::Image::NoRoom && commit.before.is_some() {
            self.soon(weather.start, Event::PodStarts(name));
        }
    }

    /// The process of a pod is not there, by nobody's doing that is judged here; one that is started again counts from 0.
    pub(super) fn fails(&mut self, pod: &str) {
        if let Some(process) = self.plane.processes.get_mut(pod) {
            let Process { answered, failed, dead, died, owed, .. } = process;
            (*answered, *failed, *dead, *died, *owed) = (0, 0, Some(Cause::Others), None, 0.0);
        }
    }
}
