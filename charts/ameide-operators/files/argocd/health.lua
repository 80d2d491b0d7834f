-- What Argo CD takes a Domain, Process, Agent or UISurface for; the same for every kind.
-- Plain Lua without its libraries: Argo CD offers but few of them.
local verdict = {status = "Progressing", message = "no operator has looked at it yet"}

if obj.metadata ~= nil and obj.metadata.deletionTimestamp ~= nil then
  verdict.message = "is being deleted"
  return verdict
end
local status = obj.status
if status == nil or status.conditions == nil then
  return verdict
end
if obj.metadata ~= nil and status.observedGeneration ~= obj.metadata.generation then
  verdict.message = "the operator has not seen the latest change of the spec yet"
  return verdict
end

local found = {}
for _, condition in ipairs(status.conditions) do
  found[condition.type] = condition
end

local function holds(name)
  return found[name] ~= nil and found[name].status == "True"
end

local function say(health, name)
  local message = found[name].message
  if message == nil or message == "" then
    message = found[name].reason or name
  end
  return {status = health, message = message}
end

-- Stalled: it cannot become Ready by itself, and syncing should not wait for it.
if holds("Stalled") then
  return say("Degraded", "Stalled")
end
-- Nothing is written while it is paused, so whatever else is wrong will stay so.
if holds("Paused") then
  return say("Suspended", "Paused")
end
if holds("Ready") then
  -- It is served, but less of it than was asked for, or something about it fails.
  if holds("Degraded") then
    return say("Degraded", "Degraded")
  end
  return {status = "Healthy", message = "Ready"}
end
if found.Ready ~= nil then
  return say("Progressing", "Ready")
end
return verdict
