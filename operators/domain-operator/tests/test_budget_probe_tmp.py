import time, json, threading
import pytest
from databases import real
@pytest.mark.parametrize("n", range(4))
def test_a(platform, operator, domains, kube, cluster, n):
    seen=[]
    d = domains.create(db=real(domains, cluster))
    def w():
        for e in kube.watch("ameide.io/v1","Domain",domains.namespace, resource_version=d["metadata"]["resourceVersion"], timeout=22):
            seen.append(e)
    t=threading.Thread(target=w); t.start()
    domains.ready(timeout=60); t.join()
    prev={}
    print("=====", len(seen))
    for e in seen:
        s = e[1].get("status") or {}
        for k in sorted(set(s)|set(prev)):
            if s.get(k)!=prev.get(k):
                if k=="conditions":
                    print("  cond", [(c["type"],c["status"],c["reason"],c["message"][:60]) for c in s[k] if c not in (prev.get(k) or [])])
                elif k=="children": print("  children", [(c["kind"],c["name"][-12:],c["ready"],c.get("reason")) for c in s[k] if c not in (prev.get(k) or [])])
                else: print("  ",k, s.get(k))
        print("--", e[1]["metadata"]["resourceVersion"])
        prev=s
