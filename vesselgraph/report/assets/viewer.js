// The rotatable 3-D view. Needs the global VesselThree (three.js) and the page's data element; quietly leaves the still picture
// in place where WebGL is missing. Positions are world millimetres, LPS.
"use strict";
window.vesselViewer = (function () {
  const canvas = document.getElementById("canvas");
  if (!canvas) return null;
  const T = VesselThree;
  const scene = JSON.parse(document.getElementById("data").textContent).scene;
  const byId = (id) => document.getElementById(id);

  function bytes(text) {
    const raw = atob(text);
    const result = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) result[i] = raw.charCodeAt(i);
    return result;
  }
  // A fresh buffer each time: typed arrays need aligned starts.
  const u16 = (text) => new Uint16Array(bytes(text).buffer);
  const u32 = (text) => new Uint32Array(bytes(text).buffer);

  // The scene is drawn around its middle, so that single precision is enough.
  const middle = scene.low.map((low, axis) => low + scene.size[axis] / 2);
  function positions(text) {
    const packed = u16(text);
    const result = new Float32Array(packed.length);
    for (let i = 0; i < packed.length; i++) {
      const axis = i % 3;
      result[i] = scene.low[axis] - middle[axis] + (packed[i] / 65535) * scene.size[axis];
    }
    return result;
  }

  const treeColours = scene.treeColours.map((text) => new T.Color(text));
  const scaleColours = scene.scaleColours.map((text) => new T.Color(text));
  const unknown = new T.Color("#888888");
  function scaleColour(level) {
    if (level === 0) return unknown;
    const place = ((level - 1) / 254) * (scaleColours.length - 1);
    const low = Math.min(Math.floor(place), scaleColours.length - 2);
    return scaleColours[low].clone().lerp(scaleColours[low + 1], place - low);
  }
  const levelColours = Array.from({ length: 256 }, (_, level) => scaleColour(level));
  const colourOf = (by, value) => (by === "tree" ? treeColours[value] : levelColours[value]);

  let renderer;
  try {
    renderer = new T.WebGLRenderer({ canvas, antialias: true, alpha: true });
  } catch {
    byId("view-note").textContent += " This browser has no WebGL.";
    return null;
  }
  renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));

  const world = new T.Scene();
  const camera = new T.PerspectiveCamera(30, 1, 1, 10000);
  camera.up.set(0, 0, 1);
  world.add(camera, new T.HemisphereLight(0xffffff, 0x8a8f98, 1.4));
  const lamp = new T.DirectionalLight(0xffffff, 2.0);
  lamp.position.set(0.4, 0.6, 1);
  camera.add(lamp);

  function surface(part, material) {
    const geometry = new T.BufferGeometry();
    geometry.setAttribute("position", new T.BufferAttribute(positions(part.points), 3));
    geometry.setIndex(new T.BufferAttribute(u32(part.faces), 1));
    geometry.computeVertexNormals();
    return new T.Mesh(geometry, material);
  }
  const meshValues = { tree: bytes(scene.mesh.tree), radius: bytes(scene.mesh.radius), score: bytes(scene.mesh.score) };
  const meshBranch = scene.mesh.branchBytes === 2 ? u16(scene.mesh.branch) : u32(scene.mesh.branch);
  const vessel = surface(scene.mesh, new T.MeshStandardMaterial({ vertexColors: true, roughness: 0.55, side: T.DoubleSide }));
  vessel.geometry.setAttribute("color", new T.BufferAttribute(new Float32Array(scene.mesh.nPoints * 3), 3));
  world.add(vessel);

  const outline = surface(scene.region, new T.MeshLambertMaterial({ color: 0xb5533c, transparent: true, opacity: 0.16, depthWrite: false, side: T.DoubleSide }));
  outline.visible = false;
  outline.renderOrder = 2;
  world.add(outline);
  if (!scene.region.nFaces) byId("region-label").hidden = true;

  const line = {
    at: positions(scene.lines.points), offset: u32(scene.lines.offset), radius: bytes(scene.lines.radius),
    tree: bytes(scene.lines.tree), score: bytes(scene.lines.score),
  };
  const nBranches = line.offset.length - 1;
  function segments(first, last, by) {
    const place = [], colour = [];
    for (let e = first; e < last; e++) {
      for (let i = line.offset[e]; i < line.offset[e + 1] - 1; i++) {
        for (const j of [i, i + 1]) {
          place.push(line.at[3 * j], line.at[3 * j + 1], line.at[3 * j + 2]);
          if (by) {
            const c = colourOf(by, by === "radius" ? line.radius[j] : line[by][e]);
            colour.push(c.r, c.g, c.b);
          }
        }
      }
    }
    const geometry = new T.LineSegmentsGeometry();
    geometry.setPositions(place);
    if (by) geometry.setColors(colour);
    return geometry;
  }
  const lines = new T.LineSegments2(new T.LineSegmentsGeometry(), new T.LineMaterial({ vertexColors: true, linewidth: 2.2 }));
  const marked = new T.LineSegments2(new T.LineSegmentsGeometry(), new T.LineMaterial({ color: 0xff2d55, linewidth: 5, depthTest: false }));
  lines.visible = marked.visible = false;
  lines.frustumCulled = marked.frustumCulled = false;
  marked.renderOrder = 3;
  world.add(lines, marked);

  function paint() {
    const by = byId("colour-by").value;
    const colour = vessel.geometry.getAttribute("color");
    const values = meshValues[by];
    for (let i = 0; i < values.length; i++) {
      const c = colourOf(by, values[i]);
      colour.setXYZ(i, c.r, c.g, c.b);
    }
    colour.needsUpdate = true;
    if (nBranches) {
      lines.geometry.dispose();
      lines.geometry = segments(0, nBranches, by);
    }
    byId("scale-legend").hidden = by === "tree";
    const limits = by === "radius" ? scene.radiusLimits.map((r) => r.toFixed(1) + " mm") : ["0", "1"];
    byId("scale-low").textContent = limits[0];
    byId("scale-high").textContent = limits[1];
    draw();
  }

  function surfaceMode() {
    const mode = byId("surface-mode").value;
    vessel.visible = mode !== "off" && scene.mesh.nFaces > 0;
    vessel.material.transparent = mode === "clear";
    vessel.material.opacity = mode === "clear" ? 0.3 : 1;
    vessel.material.depthWrite = mode !== "clear";
    vessel.material.needsUpdate = true;
    draw();
  }

  const controls = new T.OrbitControls(camera, canvas);
  controls.enableDamping = false;
  // The page must stay scrollable: the wheel zooms only after a click into the view.
  controls.enableZoom = false;
  canvas.addEventListener("pointerdown", () => { controls.enableZoom = true; });
  canvas.addEventListener("pointerleave", () => { controls.enableZoom = false; });
  controls.addEventListener("change", draw);

  const from = { A: [0, -1, 0], P: [0, 1, 0], R: [-1, 0, 0], L: [1, 0, 0], S: [0, -0.001, 1], I: [0, -0.001, -1] };
  const reach = Math.hypot(...scene.size) / 2;
  function look(side) {
    // Fit what the window is narrower in: height against z, width against x or y.
    const upDown = side === "S" || side === "I";
    const across = side === "R" || side === "L" ? scene.size[1] : scene.size[0];
    const high = upDown ? scene.size[1] : scene.size[2];
    const deep = upDown ? scene.size[2] : side === "R" || side === "L" ? scene.size[0] : scene.size[1];
    const half = Math.max(high, across / camera.aspect) / 2;
    const distance = (half * 1.08) / Math.tan((camera.fov * Math.PI) / 360) + deep / 2;
    camera.position.set(...from[side].map((c) => c * distance));
    camera.near = reach / 100;
    camera.far = distance + reach * 20;
    camera.updateProjectionMatrix();
    controls.target.set(0, 0, 0);
    controls.update();
    draw();
  }

  const names = [["R", "L"], ["A", "P"], ["I", "S"]];
  function sideName(x, y, z) {
    const v = [x, y, z];
    const axis = [0, 1, 2].reduce((best, i) => (Math.abs(v[i]) > Math.abs(v[best]) ? i : best), 0);
    return names[axis][v[axis] > 0 ? 1 : 0];
  }
  function labelSides() {
    const m = camera.matrixWorld.elements;
    byId("side-right").textContent = sideName(m[0], m[1], m[2]);
    byId("side-left").textContent = sideName(-m[0], -m[1], -m[2]);
    byId("side-top").textContent = sideName(m[4], m[5], m[6]);
    byId("side-bottom").textContent = sideName(-m[4], -m[5], -m[6]);
  }

  let waiting = false;
  function drawNow() {
    waiting = false;
    renderer.render(world, camera);
    labelSides();
  }
  function draw() {
    if (!waiting) {
      waiting = true;
      requestAnimationFrame(drawNow);
    }
  }
  function resize() {
    const box = byId("stage").getBoundingClientRect();
    renderer.setSize(box.width, box.height, false);
    camera.aspect = box.width / Math.max(box.height, 1);
    camera.updateProjectionMatrix();
    draw();
  }

  function mark(branch) {
    const ok = Number.isInteger(branch) && branch >= 0 && branch < nBranches;
    marked.visible = ok;
    if (ok) {
      marked.geometry.dispose();
      marked.geometry = segments(branch, branch + 1, null);
      const l = scene.lines, word = (value, unit) => (value === null ? "unknown" : value + unit);
      byId("picked").textContent = `Branch ${branch}: tree ${l.treeId[branch]}${l.treeName.length ? " (" + l.treeName[branch] + ")" : ""}, length ${l.length[branch]} mm, `
        + `mean radius ${word(l.meanRadius[branch], " mm")}, score ${word(l.scoreValue[branch], "")}.`;
    } else {
      byId("picked").textContent = "";
    }
    document.dispatchEvent(new CustomEvent("branch-marked", { detail: ok ? branch : -1 }));
    draw();
  }
  let pressed = null;
  canvas.addEventListener("pointerdown", (event) => { pressed = [event.clientX, event.clientY]; });
  canvas.addEventListener("pointerup", (event) => {
    if (!pressed || Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) > 4 || !vessel.visible) return;
    const box = canvas.getBoundingClientRect();
    const ray = new T.Raycaster();
    ray.setFromCamera(new T.Vector2(((event.clientX - box.left) / box.width) * 2 - 1, 1 - ((event.clientY - box.top) / box.height) * 2), camera);
    const hit = ray.intersectObject(vessel)[0];
    mark(hit ? meshBranch[hit.face.a] : -1);
  });

  function turn(right, up) {
    const offset = camera.position.clone().sub(controls.target);
    const distance = offset.length();
    const around = Math.atan2(offset.y, offset.x) + right;
    const high = Math.min(Math.max(Math.asin(offset.z / distance) + up, -1.55), 1.55);
    offset.set(Math.cos(high) * Math.cos(around), Math.cos(high) * Math.sin(around), Math.sin(high)).multiplyScalar(distance);
    camera.position.copy(controls.target).add(offset);
    controls.update();
    draw();
  }
  function zoom(factor) {
    camera.position.sub(controls.target).multiplyScalar(factor).add(controls.target);
    controls.update();
    draw();
  }
  const keys = {
    ArrowLeft: () => turn(-0.12, 0), ArrowRight: () => turn(0.12, 0), ArrowUp: () => turn(0, 0.12), ArrowDown: () => turn(0, -0.12),
    "+": () => zoom(0.9), "=": () => zoom(0.9), "-": () => zoom(1.1),
  };
  canvas.addEventListener("keydown", (event) => {
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  });

  byId("stage").classList.add("live");
  canvas.hidden = false;
  byId("view-controls").hidden = false;
  byId("view-note").textContent = "Drag to rotate, right-drag to move. Click into the view, then the wheel zooms; click a vessel to name its branch. Arrow keys rotate too.";
  byId("colour-by").addEventListener("change", paint);
  byId("surface-mode").addEventListener("change", surfaceMode);
  byId("show-lines").addEventListener("change", (event) => { lines.visible = event.target.checked && nBranches > 0; draw(); });
  byId("show-region").addEventListener("change", (event) => { outline.visible = event.target.checked; draw(); });
  for (const button of document.querySelectorAll("[data-from]")) button.addEventListener("click", () => look(button.dataset.from));
  new ResizeObserver(resize).observe(byId("stage"));
  window.addEventListener("beforeprint", () => {
    // Print what is on the screen now.
    drawNow();
    const still = byId("still") || byId("stage").insertBefore(new Image(), canvas);
    still.id = "still";
    still.src = canvas.toDataURL("image/png");
  });
  canvas.addEventListener("webglcontextlost", () => {
    byId("stage").classList.remove("live");
    canvas.hidden = true;
    byId("view-note").textContent = "The browser has given up the 3-D view; this is a still picture. Reload the page to get it back.";
  });
  if (!scene.mesh.nFaces) {
    byId("show-lines").checked = true;
    lines.visible = nBranches > 0;
  }
  resize();
  look("A");
  surfaceMode();
  paint();
  drawNow();
  return { mark, look, turn, camera, renderer };
})();
