//! The dashboards: read, and held to the rules that make one work wherever it is imported.
//!
//! A dashboard names no data source of this machine, asks for the migration and the instances that are chosen, says in words
//! what it shows, draws nothing where nothing is known, and leads from each panel to the runbook.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards");
const SOURCE: &str = "${datasource}";

/// One dashboard.
pub struct Dashboard {
    pub name: String,
    pub json: Value,
}

/// One query of a panel.
pub struct Target {
    pub panel: String,
    pub expr: String,
    pub legend: String,
    pub instant: bool,
}

/// Every file of `dashboards/`.
pub fn all() -> Vec<Dashboard> {
    let files = fs::read_dir(FOLDER)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut found: Vec<Dashboard> = files
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .map(|path| read(&path))
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(found.len() >= 2, "{} dashboards", found.len());
    found
}

fn read(path: &Path) -> Dashboard {
    let text = fs::read_to_string(path).unwrap();
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    Dashboard { name, json }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

impl Dashboard {
    pub fn panels(&self) -> &[Value] {
        list(&self.json["panels"])
    }

    pub fn targets(&self) -> Vec<Target> {
        let of = |panel: &Value| {
            let title = text(&panel["title"]).to_owned();
            let targets = list(&panel["targets"]).to_vec();
            targets.into_iter().map(move |target| Target {
                panel: title.clone(),
                expr: text(&target["expr"]).to_owned(),
                legend: text(&target["legendFormat"]).to_owned(),
                instant: target["instant"] == true,
            })
        };
        self.panels().iter().flat_map(of).collect()
    }

    /// The queries of its variables.
    pub fn variables(&self) -> Vec<String> {
        list(&self.json["templating"]["list"])
            .iter()
            .filter(|one| one["type"] == "query")
            .map(|one| text(&one["definition"]).to_owned())
            .collect()
    }

    /// What is wrong with the whole of it.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                faults.push(format!("{}: {what}", self.name));
            }
        };
        let json = &self.json;
        let variable = |name: &str| {
            let variables = list(&json["templating"]["list"]);
            variables.iter().find(|one| one["name"] == name)
        };
        must(
            json["uid"] == format!("lockgate-{}", self.name),
            "its uid is not its name",
        );
        for foreign in ["__inputs", "__requires", "id", "version", "iteration"] {
            must(json.get(foreign).is_none(), &format!("has {foreign}"));
        }
        must(
            variable("datasource").is_some_and(|one| one["type"] == "datasource"),
            "no variable of type datasource",
        );
        for name in ["migration", "instance"] {
            must(
                variable(name).is_some_and(|one| one["datasource"]["uid"] == SOURCE),
                &format!("no variable {name} of the chosen source"),
            );
        }
        for one in list(&json["templating"]["list"]) {
            let chosen = one["type"] != "textbox" && one.get("current").is_some();
            must(!chosen, "a variable remembers what somebody chose");
        }
        must(
            list(&json["links"]).iter().any(|link| {
                link["type"] == "dashboards" && list(&link["tags"]).contains(&"lockgate".into())
            }),
            "no link to the others",
        );
        must(
            list(&json["tags"]).contains(&"lockgate".into()),
            "the others do not link to it",
        );
        must(
            list(&json["annotations"]["list"])
                .iter()
                .any(|one| text(&one["expr"]).contains("ALERTS{")),
            "critical alerts are not marked",
        );
        must((1..=16).contains(&self.panels().len()), "1 to 16 panels");
        let titles: BTreeSet<&str> = self
            .panels()
            .iter()
            .map(|one| text(&one["title"]))
            .collect();
        must(
            titles.len() == self.panels().len(),
            "two panels of one title",
        );
        faults
    }
}

/// What is wrong with one panel.
fn panel_faults(panel: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            faults.push(format!("{}: {what}", text(&panel["title"])));
        }
    };
    let defaults = &panel["fieldConfig"]["defaults"];
    must(!text(&panel["title"]).is_empty(), "no title");
    must(panel.get("id").is_none(), "has an id");
    must(!text(&defaults["unit"]).is_empty(), "no unit");
    must(defaults["min"] == 0, "its axis does not begin at 0");
    must(
        panel["datasource"]["uid"] == SOURCE,
        "another source than the chosen one",
    );
    let linked = super::alerts::runbooks_in(text(&panel["description"]));
    must(!linked.is_empty(), "leads to no runbook");
    for name in linked {
        must(
            lockgate::runbooks::find(&name).is_some(),
            &format!("there is no runbook {name}"),
        );
    }
    if let Some(custom) = defaults.get("custom") {
        let gaps = custom.get("spanNulls").is_none_or(|span| span == false);
        must(gaps, "draws a line through what is unknown");
    }
    let targets = list(&panel["targets"]);
    must(!targets.is_empty(), "asks nothing");
    for target in targets {
        let expr = text(&target["expr"]);
        must(
            target["datasource"]["uid"] == SOURCE,
            "a query of another source",
        );
        for selector in super::promql::selectors(expr) {
            for variable in ["migration", "instance"] {
                let asked = selector
                    .matchers
                    .iter()
                    .any(|one| one.label == variable && one.value == format!("${variable}"));
                must(asked, &format!("{} of any {variable}", selector.metric));
            }
        }
        let rates = expr.split("rate(").skip(1);
        for rate in rates {
            let window = rate.split_once('[').map_or("", |(_, window)| window);
            must(
                window.starts_with("$__rate_interval]"),
                "a rate over a window of its own",
            );
        }
        must(!text(&target["legendFormat"]).is_empty(), "no legend");
    }
    faults.extend(state_faults(panel));
    faults
}

/// A colour never stands alone: what is coloured as a state has words for it.
fn state_faults(panel: &Value) -> Vec<String> {
    let title = text(&panel["title"]);
    let defaults = &panel["fieldConfig"]["defaults"];
    let wordless = list(&defaults["mappings"]).is_empty();
    let is_state = panel["type"] == "state-timeline";
    let coloured = panel["options"]["colorMode"] == "background";
    if wordless && (is_state || coloured) {
        vec![format!("{title}: a state is a colour alone")]
    } else {
        Vec::new()
    }
}

#[test]
fn dashboards_work_wherever_they_are_imported() {
    let mut faults = Vec::new();
    for dashboard in all() {
        faults.extend(dashboard.faults());
        for panel in dashboard.panels() {
            let found = panel_faults(panel);
            faults.extend(
                found
                    .into_iter()
                    .map(|one| format!("{}: {one}", dashboard.name)),
            );
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_breaks_a_dashboard_elsewhere_is_found() {
    let whole = all().remove(0);
    let with = |pointer: &str, value: Value| {
        let mut json = whole.json.clone();
        *json
            .pointer_mut(pointer)
            .unwrap_or_else(|| panic!("{pointer}")) = value;
        Dashboard {
            name: whole.name.clone(),
            json,
        }
    };
    let broken = |pointer: &str, value: Value| {
        let dashboard = with(pointer, value);
        let panels = dashboard.panels().iter().flat_map(panel_faults);
        dashboard.faults().len() + panels.count()
    };
    let panel = &whole.panels()[0];
    let expr = text(&panel["targets"][0]["expr"]);
    let ways: [(&str, Value); 9] = [
        ("/uid", "other".into()),
        ("/tags", Value::Array(vec![])),
        ("/templating/list/0/type", "constant".into()),
        ("/panels/0/datasource/uid", "P1809F7CD0C75ACF3".into()),
        ("/panels/0/description", "State.".into()),
        ("/panels/0/fieldConfig/defaults/unit", "".into()),
        ("/panels/0/fieldConfig/defaults/min", Value::Null),
        (
            "/panels/0/targets/0/expr",
            expr.replace("$migration", "messaging").into(),
        ),
        (
            "/panels/0/targets/0/expr",
            "rate(lockgate_x_total{migration=~\"$migration\", instance=~\"$instance\"}[5m])".into(),
        ),
    ];
    for (pointer, value) in ways {
        assert!(broken(pointer, value.clone()) > 0, "{pointer} = {value}");
    }
}
