// The words of the page in English and Chinese, chosen once from the browser's language.

const english = {
  model: "Model",
  automatic: "Automatic",
  newChat: "New chat",
  conversation: "Conversation",
  welcome: "Ask this device.",
  promise: "The answer is made right here. What you write goes no further.",
  examples: ["How do I add a model?", "Can my phone use it?", "Does anything leave this device?"],
  programs: "Use it from your own programs",
  ask: "Ask something",
  send: "Send",
  stop: "Stop",
  latest: "To the end",
  you: "You",
  answer: "Answer",

  guideOnly: "This is only the built-in guide: it knows this device and little else.",
  guideMore: "Add a real model",
  guideHow:
    "Put a .gguf file into the models folder of the device: /var/lib/edged/models for the system service, " +
    "otherwise ~/.local/state/edged/models. It is offered here at once, without a restart.",

  waiting: "Thinking",
  waitingFor: (seconds) => `Thinking, ${seconds} s`,
  pending: "The model is being loaded; the answer follows as soon as it is there",
  loading: "The model is being loaded.",
  loadingPart: (percent) => `The model is being loaded: ${percent} %.`,
  secondsLeft: (seconds) => `About ${seconds} s left.`,
  reasoning: "Thoughts",

  local: "on this device",
  device: (name) => `on this device (${name})`,
  lan: (name) => `on ${name}, in your network`,
  cloud: (name) => `in the cloud, by ${name}`,
  firstWord: (seconds) => `first word ${seconds} s`,
  rate: (tokens) => `${tokens} tok/s`,
  queued: (seconds) => `waited ${seconds} s in line`,

  copy: "Copy",
  copied: "Copied",
  copyFailed: "Could not copy",
  code: "code",
  retry: "Try again",
  retryIn: (seconds) => `Try again in ${seconds} s`,
  goOn: "Continue",
  goOnPrompt: "Continue exactly where you stopped.",
  stopped: "You stopped this answer; it is not complete.",
  incomplete: "The answer above is not complete.",
  length: "The answer reached its length limit.",
  empty: "The model answered nothing.",
  askAnyway: "Wait for it",
  dropped: (count) => `without the oldest ${count} messages`,
  people: "People and keys",
  yourself: "You and your browsers",
  signIn: "Sign in",
  supervised: "Supervised: the owner of this device can read what is written here.",
  droppedNow:
    "This conversation has outgrown what the model can take in at once. From here on it answers without what stands " +
    "above the line.",
  unseen: "The model no longer sees what is above",

  errors: {
    unauthorized: "This browser is not signed in, or no longer.",
    claim_required: "Nobody owns this device yet.",
    network: "The device does not answer. Is it switched on, and are you in its network?",
    interrupted: "The connection broke before the answer was complete.",
    queue_full: ({ seconds }) => `As many are waiting as can wait. There will be room ${soon(seconds)}.`,
    predicted_timeout: ({ seconds }) => `Others are being answered, and your turn would come too late. Ask again ${soon(seconds)}.`,
    rate_limited: ({ seconds }) => `Others are waiting too, and your questions have their share of the line. Ask again ${soon(seconds)}.`,
    model_loading: ({ seconds }) => `The model is still being loaded. It should be there ${soon(seconds)}.`,
    load_timeout: "The model took too long to load.",
    shutting_down: "The device is shutting down or restarting.",
    worker_crashed: "The model stopped unexpectedly. The next question starts it afresh.",
    worker_stalled: "The model got stuck. The next question starts it afresh.",
    worker_oom: "The memory of the device was not enough for this.",
    thermal_shed: "The device is too hot and needs a rest.",
    context_length_exceeded: ({ promptTokens, contextTokens }) =>
      "This is longer than the model can take in at once" +
      (contextTokens ? ` (${promptTokens} tokens, and there is room for ${contextTokens}).` : ".") +
      " Ask for less, or in parts.",
    payload_too_large: "This is too long to send.",
    grammar_invalid: "The answer was asked for in a form that cannot be kept to.",
    model_not_found: "This model is no longer on the device.",
    model_invalid: "The file of this model cannot be used.",
    model_unsupported: "This edged is too old for this model, or the model for it. Update edged, or choose another model.",
    template_limit: "This model's own chat template took too long or too much memory. Another model may answer.",
    capability_missing: "This model cannot do that.",
    invalid_request: "The model cannot take this question as it is.",
    other: "That did not work.",
  },
};

export function soon(seconds) {
  if (seconds < 1) return "soon";
  return seconds < 100 ? `in about ${seconds} s` : `in about ${Math.round(seconds / 60)} minutes`;
}

const chinese = {
  model: "模型",
  automatic: "自动",
  newChat: "新对话",
  conversation: "对话",
  welcome: "问问这台设备。",
  promise: "回答就在这里产生，你写的内容不会传到别处。",
  examples: ["怎么添加模型？", "手机可以用吗？", "有数据会离开这台设备吗？"],
  programs: "在你自己的程序里使用它",
  ask: "想问什么？",
  send: "发送",
  stop: "停止",
  latest: "回到最新",
  you: "你",
  answer: "回答",

  guideOnly: "现在回答的只是内置的 guide，它只了解这台设备。",
  guideMore: "添加真正的模型",
  guideHow:
    "把 .gguf 文件放进设备的模型文件夹：系统服务用 /var/lib/edged/models，" +
    "其他情况用 ~/.local/state/edged/models。不用重启，这里马上就能选。",

  waiting: "正在思考",
  waitingFor: (seconds) => `正在思考，${seconds} 秒`,
  pending: "模型正在加载，好了就会回答",
  loading: "模型正在加载。",
  loadingPart: (percent) => `模型正在加载：${percent}%。`,
  secondsLeft: (seconds) => `大约还要 ${seconds} 秒。`,
  reasoning: "思考过程",

  local: "在这台设备上",
  device: (name) => `在这台设备上（${name}）`,
  lan: (name) => `在局域网的 ${name} 上`,
  cloud: (name) => `在云端，由 ${name} 提供`,
  firstWord: (seconds) => `首字 ${seconds} 秒`,
  rate: (tokens) => `${tokens} 词元/秒`,
  queued: (seconds) => `排队 ${seconds} 秒`,

  copy: "复制",
  copied: "已复制",
  copyFailed: "复制失败",
  code: "代码",
  retry: "重试",
  retryIn: (seconds) => `${seconds} 秒后可重试`,
  goOn: "继续",
  goOnPrompt: "请从刚才停下的地方接着写。",
  stopped: "你停止了这个回答，它不完整。",
  incomplete: "上面的回答不完整。",
  length: "回答达到了长度上限。",
  empty: "模型没有给出内容。",
  askAnyway: "继续等",
  dropped: (count) => `未含最早的 ${count} 条消息`,
  people: "成员与密钥",
  yourself: "你和你的浏览器",
  signIn: "登录",
  supervised: "此设备受监督：主人可以看到这里写的内容。",
  droppedNow: "对话已经超出模型一次能读的长度。从这里起，它看不到横线以上的内容。",
  unseen: "模型已看不到以上内容",

  errors: {
    unauthorized: "这个浏览器没有登录，或者登录已失效。",
    claim_required: "这台设备还没有主人。",
    network: "设备没有回应。它开着吗？你和它在同一个网络里吗？",
    interrupted: "回答还没完，连接就断了。",
    queue_full: ({ seconds }) => `排队的人满了，${later(seconds)}会有空位。`,
    predicted_timeout: ({ seconds }) => `设备正在回答别人，轮到你要等太久。请${later(seconds)}再问。`,
    rate_limited: ({ seconds }) => `别人也在等，你的提问已经占满了自己的份额。请${later(seconds)}再问。`,
    model_loading: ({ seconds }) => `模型还在加载，${later(seconds)}应该就好。`,
    load_timeout: "模型加载太久，没有成功。",
    shutting_down: "设备正在关闭或重启。",
    worker_crashed: "模型意外停止。下一次提问会重新启动它。",
    worker_stalled: "模型卡住了。下一次提问会重新启动它。",
    worker_oom: "设备内存不够，没能完成。",
    thermal_shed: "设备太热，需要歇一会儿。",
    context_length_exceeded: ({ promptTokens, contextTokens }) =>
      "内容超过了模型一次能读的长度" +
      (contextTokens ? `（共 ${promptTokens} 个词元，只放得下 ${contextTokens} 个）` : "") +
      "。请问得短一些，或分几次问。",
    payload_too_large: "内容太长，无法发送。",
    grammar_invalid: "要求的回答格式无法做到。",
    model_not_found: "设备上已经没有这个模型。",
    model_invalid: "这个模型的文件无法使用。",
    model_unsupported: "这个版本的 edged 不支持该模型。请更新 edged，或换一个模型。",
    template_limit: "这个模型自带的对话模板耗时太久或占用内存太多。可以换一个模型。",
    capability_missing: "这个模型做不到。",
    invalid_request: "模型无法接受这样的提问。",
    other: "没有成功。",
  },
};

export function later(seconds) {
  if (seconds < 1) return "稍后";
  return seconds < 100 ? `大约 ${seconds} 秒后` : `大约 ${Math.round(seconds / 60)} 分钟后`;
}

export const language = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
const words = language === "zh" ? chinese : english;

/** Take in the words of a further page, which brings them along. */
export function learn(languages) {
  Object.assign(words, languages[language]);
}

/** The words for `key`; where they have a gap, `value` fills it. */
export function say(key, value) {
  const found = words[key];
  return typeof found === "function" ? found(value) : found;
}

/** What a ChatError means to a person. Where `isExplained` is false, the daemon's own message says more. */
export function sayError({ code, retryAfterSeconds = 0, promptTokens, contextTokens }) {
  const found = words.errors[code] ?? words.errors.other;
  if (typeof found !== "function") return { text: found, isExplained: false };
  return { text: found({ seconds: Math.ceil(retryAfterSeconds), promptTokens, contextTokens }), isExplained: true };
}

/** Translate the elements of the page that carry `data-say` (text) or `data-say-label` (accessible name). */
export function translatePage() {
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
  for (const found of document.querySelectorAll("[data-say]")) found.textContent = say(found.dataset.say);
  for (const found of document.querySelectorAll("[data-say-label]")) {
    found.setAttribute("aria-label", say(found.dataset.sayLabel));
    if (found instanceof HTMLButtonElement) found.title = say(found.dataset.sayLabel);
  }
}
