//! Cycles, and layers of what is left when each cycle is taken for one node.

use super::Graph;
use crate::node::Role;

/// Finds both. Nodes come first in the numbering of vertices, topics after them.
pub(super) fn fill(graph: &mut Graph) {
    let count = graph.nodes.len();
    let next = |vertex: usize| -> Vec<usize> {
        match graph.nodes.get(vertex) {
            // Where the log goes does not say what depends on what: everybody's log may go to one topic.
            Some(node) => {
                node.writes.iter().filter(|(_, role)| *role != Role::Log).map(|(topic, _)| count + topic).collect()
            }
            None => graph.topics[vertex - count].readers.clone(),
        }
    };
    let components = components(count + graph.topics.len(), next);
    // Components come in the order in which Tarjan closes them: what is downstream first.
    let mut of = vec![0; count + graph.topics.len()];
    for (index, component) in components.iter().enumerate() {
        component.iter().for_each(|vertex| of[*vertex] = index);
    }
    let mut layer = vec![0; components.len()];
    for index in (0..components.len()).rev() {
        // Only nodes make a layer; a topic alone is where the last node that writes it is.
        let step = usize::from(components[index].iter().any(|vertex| *vertex < count));
        for vertex in &components[index] {
            for after in next(*vertex) {
                if of[after] != index {
                    layer[of[after]] = layer[of[after]].max(layer[index] + step);
                }
            }
        }
    }
    let mut layers: Vec<Vec<usize>> = Vec::new();
    for node in 0..count {
        let at = layer[of[node]];
        if layers.len() <= at {
            layers.resize(at + 1, Vec::new());
        }
        layers[at].push(node);
        graph.nodes[node].layer = at;
    }
    graph.layers = layers;
    let mut cycles: Vec<Vec<usize>> = components
        .into_iter()
        .filter(|component| component.len() > 1)
        .map(|component| component.into_iter().filter(|vertex| *vertex < count).collect())
        .collect();
    cycles.iter_mut().for_each(|cycle| cycle.sort_unstable());
    cycles.sort();
    graph.cycles = cycles;
}

/// Strongly connected components, without recursion: a chain of nodes may be long. Source: Tarjan, 1972.
fn components(count: usize, next: impl Fn(usize) -> Vec<usize>) -> Vec<Vec<usize>> {
    const UNSEEN: usize = usize::MAX;
    let (mut order, mut low, mut is_open) = (vec![UNSEEN; count], vec![0; count], vec![false; count]);
    let (mut seen, mut open, mut found) = (0, Vec::new(), Vec::new());
    for start in 0..count {
        if order[start] != UNSEEN {
            continue;
        }
        let mut path: Vec<(usize, std::vec::IntoIter<usize>)> = Vec::new();
        let mut enter = Some(start);
        loop {
            if let Some(vertex) = enter.take() {
                (order[vertex], low[vertex], is_open[vertex]) = (seen, seen, true);
                seen += 1;
                open.push(vertex);
                path.push((vertex, next(vertex).into_iter()));
            }
            let Some((vertex, rest)) = path.last_mut() else { break };
            let vertex = *vertex;
            match rest.next() {
                Some(after) if order[after] == UNSEEN => enter = Some(after),
                Some(after) if is_open[after] => low[vertex] = low[vertex].min(order[after]),
                Some(_) => {}
                None => {
                    path.pop();
                    if let Some((before, _)) = path.last() {
                        low[*before] = low[*before].min(low[vertex]);
                    }
                    if low[vertex] == order[vertex] {
                        let mut component = Vec::new();
                        while let Some(member) = open.pop() {
                            is_open[member] = false;
                            component.push(member);
                            if member == vertex {
                                break;
                            }
                        }
                        found.push(component);
                    }
                }
            }
        }
    }
    found
}
