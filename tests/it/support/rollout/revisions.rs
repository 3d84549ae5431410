//! The lists of the simulated API: revisions, services, and the tasks of a family; and the end of a revision.

use super::{Course, Outcome, PREFIX, Service, World, error, short};
use serde_json::{Value, json};

/// The longest page of ListTaskDefinitions (ECS API Reference).
const PAGE: usize = 100;

impl World {
    /// Registers a task definition and creates its service, whose first rollout completes.
    pub fn create_existing(&mut self, task: &Value, service: &Value) {
        let registered = self.register(task).expect("a revision");
        let mut body = service.clone();
        body["taskDefinition"] = registered["taskDefinition"]["taskDefinitionArn"].clone();
        self.courses.push_front(Course::Completes(1));
        self.create(&body).expect("a service");
        self.poll(service["serviceName"].as_str().unwrap_or_default());
    }

    /// Lets the service `web` and the revision that it runs be described exactly so.
    pub fn describe_as(&mut self, service: Value, mut answer: Value) {
        let mut revision = answer["taskDefinition"].take();
        revision["tags"] = answer["tags"].take();
        let number = revision["revision"].as_u64().unwrap_or(1);
        let mut older = revision.clone();
        older["status"] = json!("INACTIVE");
        let revisions = (1..number).map(|_| older.clone()).chain([revision.clone()]);
        self.families.insert("web".to_owned(), revisions.collect());
        self.services.insert("web".to_owned(), Service { shown: service, ..Service::default() });
    }

    /// Registers more revisions of a family with these images.
    pub fn register_more(&mut self, family: &str, images: impl IntoIterator<Item = String>) {
        for image in images {
            let container = json!({"name": "web", "image": image, "memory": 128});
            self.register(&json!({"family": family, "containerDefinitions": [container]})).expect("a revision");
        }
    }

    /// The answer of ListTaskDefinitions: ACTIVE revisions, newest first, in pages.
    pub(super) fn list_revisions(&self, body: &Value) -> Value {
        let family = body["familyPrefix"].as_str().unwrap_or_default();
        let revisions = self.families.get(family).into_iter().flatten().rev();
        let active = revisions.filter(|revision| revision["status"] == "ACTIVE");
        let mut arns: Vec<_> = active.map(|one| &one["taskDefinitionArn"]).collect();
        if self.ignores_sort {
            arns.reverse();
        }
        let first = body["nextToken"].as_str().and_then(|token| token.parse().ok()).unwrap_or(0);
        let size = body["maxResults"].as_u64().map_or(PAGE, |size| PAGE.min(size as usize));
        let next = first + size;
        let page = &arns[first.min(arns.len())..next.min(arns.len())];
        json!({"taskDefinitionArns": page, "nextToken": (next < arns.len()).then(|| next.to_string())})
    }

    pub(super) fn deregister(&mut self, body: &Value) -> Outcome {
        let arn = body["taskDefinition"].as_str().unwrap_or_default();
        let found = self.families.values_mut().flatten().find(|one| one["taskDefinitionArn"] == arn);
        let found = found.ok_or_else(|| error("ClientException", "The specified task definition does not exist."))?;
        found["status"] = json!("INACTIVE");
        Ok(json!({"taskDefinition": found}))
    }

    /// The answer of ListServices.
    pub(super) fn list_services(&self) -> Value {
        let names = self.services.keys().map(|name| format!("{PREFIX}:service/prod/{name}"));
        json!({"serviceArns": names.collect::<Vec<_>>()})
    }

    /// The answer of DescribeServices. A request for one service is a poll.
    pub(super) fn describe_services(&mut self, body: &Value) -> Value {
        match body["services"].as_array().map(Vec::as_slice) {
            Some([one]) => self.poll(short(one.as_str().unwrap_or_default())),
            names => {
                let names = names.into_iter().flatten().map(|name| short(name.as_str().unwrap_or_default()));
                let shown = names.filter_map(|name| self.services.get(name)).map(|service| &service.shown);
                json!({"services": shown.collect::<Vec<_>>(), "failures": []})
            }
        }
    }
}
