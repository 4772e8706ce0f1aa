"""Verbs of captions, in groups of verbs that people use of the same action."""

# {action: its verbs in the base form, or phrases that begin with one}. A verb may be in several groups.
ACTIONS = {
    "walk": "walk, stroll, wander, hike, march, tread", "run": "run, jog, sprint, race, dash, chase, charge, gallop, trot, rush, speed", "jump": "jump, leap, hop, bounce, rebound, vault",
    "swim": "swim, wade, paddle, splash, float, dive, snorkel", "dive": "dive", "sit": "sit, seat, perch", "stand": "stand", "lie": "lie, lay, sleep, nap, rest, doze, snooze, relax, sunbathe",
    "sleep": "sleep, nap, doze, snooze, lie, lay", "kneel": "kneel, crouch, squat, bend, stoop", "ride": "ride, cycle, pedal, bike", "drive": "drive, steer", "climb": "climb, scale, rappel, ascend",
    "fly": "fly, soar, hover", "slide": "slide, sled, glide, coast", "ski": "ski", "snowboard": "snowboard", "skate": "skate, rollerblade", "skateboard": "skateboard", "surf": "surf, wakeboard",
    "fall": "fall, tumble, trip, crash", "eat": "eat, chew, bite, devour, munch, lick, graze, feed", "drink": "drink, sip", "cook": "cook, bake, grill, fry, prepare", "cut": "cut, slice, chop, carve",
    "wash": "wash, clean, bathe, scrub, rinse", "brush": "brush, comb", "read": "read", "write": "write, draw, paint, sketch", "play": "play", "throw": "throw, toss, pitch, hurl", "catch": "catch, grab, fetch, retrieve",
    "kick": "kick", "hit": "hit, strike, swing, punch, bat", "hold": "hold, carry, grip, grasp, clutch, cradle", "wear": "wear", "look": "look, watch, stare, gaze, observe, view, peer, face",
    "talk": "talk, speak, chat, converse, discuss", "sing": "sing", "dance": "dance", "smile": "smile, laugh, grin", "pose": "pose", "push": "push, shove", "pull": "pull, drag, tow, tug", "point": "point", "wave": "wave",
    "hug": "hug, embrace, cuddle", "kiss": "kiss", "dig": "dig", "fish": "fish", "shop": "shop", "work": "work", "build": "build, construct, assemble, repair, fix", "fight": "fight, wrestle, box",
    "cry": "cry, weep", "bark": "bark, growl", "shake": "shake", "roll": "roll", "crawl": "crawl", "wait": "wait", "park": "park", "type": "type", "open": "open", "close": "close", "buy": "buy", "sell": "sell",
    "appear": "appear, emerge, show up, become visible, come into view", "leave": "leave, go out, move out, disappear, exit", "move": "move, go, slide, glide, travel, head",
    "rotate": "rotate, spin, revolve, turn, twirl", "grow": "grow, get bigger, get larger, become larger, become bigger, increase", "shrink": "shrink, contract, decrease, get smaller, become smaller",
    "change color": "change, fade", "touch": "touch",
    "return": "return, come back", "lean": "lean", "perform": "perform", "celebrate": "celebrate, cheer", "take": "take", "attack": "attack", "follow": "follow",
}  # fmt: skip
# Actions that go with any other: a man who holds a ball may run as well.
WITH_ANY = "hold, wear, look, smile, pose, talk, play, take, perform, wait, work, touch, point, lean, wave, follow, return"
# Actions that people use of the same event, beside each other.
TOGETHER = [
    "run, walk, jump, play, catch, throw, move", "lie, sit, sleep", "swim, jump, dive, play, run", "ride, drive, cycle, skateboard, skate, jump", "ski, snowboard, slide, jump, ride, surf", "surf, ride, swim, fall",
    "eat, drink, sit", "cook, cut, eat", "climb, stand, walk, kneel", "stand, walk", "throw, hit, kick, catch, play", "move, leave, slide, return, jump", "dance, sing, jump", "kneel, sit, stand", "fly, jump", "hug, kiss",
]  # fmt: skip
# (past, participle) of irregular verbs.
IRREGULAR_VERBS = {
    "run": "ran run", "swim": "swam swum", "sit": "sat sat", "stand": "stood stood", "lie": "lay lain", "lay": "laid laid", "sleep": "slept slept", "kneel": "knelt knelt", "ride": "rode ridden",
    "drive": "drove driven", "fly": "flew flown", "slide": "slid slid", "fall": "fell fallen", "eat": "ate eaten", "bite": "bit bitten", "drink": "drank drunk", "cut": "cut cut", "read": "read read", "write": "wrote written",
    "draw": "drew drawn", "throw": "threw thrown", "catch": "caught caught", "hit": "hit hit", "strike": "struck struck", "swing": "swung swung", "hold": "held held", "wear": "wore worn", "speak": "spoke spoken",
    "sing": "sang sung", "dig": "dug dug", "build": "built built", "fight": "fought fought", "shake": "shook shaken", "leave": "left left", "go": "went gone", "spin": "spun spun", "grow": "grew grown", "shrink": "shrank shrunk",
    "become": "became become", "get": "got got", "come": "came come", "show": "showed shown", "take": "took taken", "feed": "fed fed", "sell": "sold sold", "buy": "bought bought", "bend": "bent bent", "speed": "sped sped",
    "tread": "trod trodden", "weep": "wept wept", "dive": "dove dived",
}  # fmt: skip
# Verbs that say nothing about an action.
OTHER_VERBS = "have, get, make, do, use, try, enjoy, show, see, become, come, put, let, keep, help, give, cover, fill, surround, display, feature, contain, include, begin, start, attempt, seem, like, want, need, can, will, may"
