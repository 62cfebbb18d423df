// Text that stands out too little from what is behind it (WCAG 2.1 AA: 4.5, large text 3), as
// sentences.
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) =>
    [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const luminance = (color) => {
    const [r, g, b] = color
      .map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    const layers = [];
    for (let one = node; one; one = one.parentElement)
      layers.unshift(rgba(getComputedStyle(one).backgroundColor));
    return layers.reduce(
      (below, layer) => over(layer, below),
      rgba(getComputedStyle(document.body).backgroundColor),
    );
  };
  const opacity = (node) =>
    node ? Number(getComputedStyle(node).opacity) * opacity(node.parentElement) : 1;
  const faults = [];
  const texts = document.createTreeWalker(
    document.querySelector("dialog") ?? document.body,
    NodeFilter.SHOW_TEXT,
  );
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (
      !texts.currentNode.textContent.trim() ||
      !node.checkVisibility() ||
      node.closest("button:disabled, .spoken, noscript, script")
    )
      continue;
    const style = getComputedStyle(node);
    const ground = behind(node.closest("svg")?.parentElement ?? node);
    const ink = rgba(node.closest("svg") ? style.fill : style.color);
    ink[3] *= opacity(node);
    const [a, b] = [luminance(over(ink, ground)), luminance(ground)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (contrast < (large ? 3 : 4.5)) {
      const text = texts.currentNode.textContent.trim().slice(0, 40);
      const classes = node.className.baseVal ?? node.className;
      faults.push(`${contrast.toFixed(2)} ${text} (${classes})`);
    }
  }
  return [...new Set(faults)];
};
