//! A step pod's folder on a node: watches its events, drives its steps, writes its order.
