"""Nouns of captions beside COCO's objects: concepts with their names, groups of concepts, and general words.

Names are in the singular, separated by commas. The first group that has a concept is its group: concepts of one group
can stand in for each other in a caption, such as a cat for a dog.
"""

CONCEPTS = {
    # Drawn shapes.
    "circle": "disc, disk, dot", "square": "", "triangle": "", "star": "", "diamond": "rhombus", "rectangle": "",
    "ellipse": "oval", "pentagon": "", "hexagon": "", "cross": "", "heart": "", "arrow": "", "ring": "", "cube": "",
    "sphere": "", "cylinder": "", "cone": "", "pyramid": "",
    # Animals.
    "rabbit": "bunny, hare", "monkey": "ape, gorilla, chimpanzee", "lion": "lioness", "tiger": "", "fish": "shark",
    "frog": "toad", "snake": "", "turtle": "tortoise", "pig": "hog, piglet", "goat": "", "deer": "moose, elk, reindeer",
    "camel": "", "squirrel": "chipmunk", "butterfly": "", "bee": "wasp", "fox": "", "wolf": "", "whale": "",
    "dolphin": "", "kangaroo": "", "donkey": "mule", "crab": "lobster",
    # Places and nature.
    "grass": "lawn, turf", "field": "meadow, pasture", "water": "", "ocean": "sea", "lake": "pond", "river": "stream, creek",
    "beach": "shore, seashore, shoreline, seaside", "sand": "", "snow": "", "ice": "", "mountain": "peak, cliff", "hill": "slope, hillside",
    "rock": "boulder, stone", "tree": "palm tree, pine tree", "forest": "wood, woods", "leaf": "", "flower": "", "bush": "shrub", "plant": "",
    "sky": "", "cloud": "", "sun": "", "moon": "", "wave": "", "dirt": "mud, soil", "ground": "floor", "road": "street, highway, lane",
    "sidewalk": "pavement, walkway", "path": "trail, pathway, track", "park": "playground", "city": "town", "bridge": "", "building": "skyscraper",
    "house": "home, cabin, hut, cottage", "church": "", "wall": "", "fence": "gate, railing", "window": "", "door": "doorway",
    "stairs": "staircase, step", "roof": "", "room": "bedroom, living room, dining room", "kitchen": "", "bathroom": "restroom", "office": "",
    "restaurant": "cafe, diner", "bar": "pub", "store": "shop, market", "stage": "", "stadium": "arena", "pool": "swimming pool", "court": "tennis court",
    "station": "train station, bus station", "airport": "", "garden": "yard, backyard",
    # Things.
    "shirt": "t-shirt, tshirt, tee shirt, sweater, sweatshirt, hoodie, blouse, jersey, tank top, polo", "jacket": "coat, vest, parka", "dress": "skirt, gown",
    "pants": "trousers, jeans, shorts, slacks", "suit": "tuxedo, uniform, costume, outfit", "hat": "cap, helmet, beanie, hood", "shoe": "boot, sneaker, sandal, running shoe",
    "glasses": "sunglasses, goggles", "swimsuit": "swim trunks, trunks, bikini, bathing suit, swimming trunks", "scarf": "", "glove": "", "sock": "",
    "toy": "stuffed animal, doll", "stick": "branch, twig, pole", "rope": "leash, cord", "collar": "", "net": "", "flag": "", "sign": "billboard", "balloon": "",
    "camera": "", "guitar": "", "drum": "", "piano": "", "microphone": "", "instrument": "", "bag": "sack", "box": "crate", "basket": "", "bucket": "", "swing": "",
    "slide": "", "trampoline": "", "ramp": "", "rail": "", "ladder": "", "tent": "", "pillow": "cushion", "blanket": "towel, quilt", "lamp": "light", "candle": "", "mirror": "",
    "picture frame": "", "painting": "", "newspaper": "", "paper": "", "computer": "monitor, computer monitor", "screen": "", "wheel": "tire", "cart": "shopping cart, wagon",
    "stroller": "carriage", "wheelchair": "", "helicopter": "", "tractor": "", "sled": "sleigh, toboggan", "parachute": "", "oar": "paddle", "hoop": "basketball hoop", "goal": "",
    "fire": "campfire", "smoke": "", "fireworks": "", "hair": "", "hand": "", "face": "", "mouth": "", "arm": "", "leg": "", "head": "", "tail": "", "tongue": "", "ear": "", "eye": "",
    # Food.
    "food": "meal, dish, snack", "plate": "tray, platter", "bread": "toast, loaf", "cheese": "", "egg": "", "rice": "", "pasta": "spaghetti, noodle", "salad": "", "soup": "", "meat": "steak, chicken wing",
    "fruit": "", "vegetable": "", "strawberry": "", "grape": "", "lemon": "lime", "tomato": "", "potato": "", "onion": "", "ice cream": "ice cream cone", "cookie": "", "chocolate": "", "coffee": "", "tea": "", "beer": "", "wine": "",
}  # fmt: skip

GROUPS = {
    "person": "person",
    "shape": "circle, square, triangle, star, diamond, rectangle, ellipse, pentagon, hexagon, cross, heart, arrow, ring, cube, sphere, cylinder, cone, pyramid",
    "animal": "bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, rabbit, monkey, lion, tiger, fish, frog, snake, turtle, pig, goat, deer, camel, squirrel, butterfly, bee, fox, wolf, whale, dolphin, kangaroo, donkey, crab",
    "vehicle": "bicycle, car, motorcycle, airplane, bus, train, truck, boat, helicopter, tractor",
    "furniture": "chair, couch, bed, dining table, bench, toilet",
    "appliance": "microwave, oven, toaster, refrigerator, sink",
    "electronics": "tv, laptop, mouse, remote, keyboard, cell phone, computer",
    "sports equipment": "frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket",
    "tableware": "bottle, wine glass, cup, fork, knife, spoon, bowl, plate",
    "food": "banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, bread, cheese, egg, rice, pasta, salad, soup, meat, strawberry, grape, lemon, tomato, potato, onion, ice cream, cookie, chocolate",
    "street object": "traffic light, fire hydrant, stop sign, parking meter",
    "accessory": "backpack, umbrella, handbag, tie, suitcase",
    "instrument": "guitar, drum, piano",
}  # fmt: skip

# General words, and the group whose concepts they may refer to; `*` is any. They are no objects of their own.
GENERAL = {
    "animal": "animal", "creature": "animal", "pet": "animal", "vehicle": "vehicle", "shape": "shape", "figure": "*",
    "thing": "*", "object": "*", "item": "*", "something": "*", "stuff": "*", "someone": "person", "somebody": "person",
    "human": "person", "one": "*", "other": "*", "fruit": "food", "vegetable": "food", "food": "food", "meal": "food",
    "dish": "food", "snack": "food", "furniture": "furniture", "toy": "*", "equipment": "*",
}  # fmt: skip
# Nouns about the picture, or about parts and sides of things.
NO_THINGS = (
    "picture, image, photo, photograph, scene, view, shot, close-up, closeup, snapshot, video, clip, background, "
    "foreground, front, back, side, top, bottom, middle, center, centre, left, right, edge, corner, row, line, size, "
    "color, colour, day, night, time, way, place, area, air, distance, spot, end, beginning, group, pair, couple, "
    "bunch, number, lot, part, piece, kind, type, position, direction, action, activity, fun, game, sport, race, match, "
    "event, hind, view, each, distance, others, self, outside, inside, outdoors, indoors, camera"
)  # fmt: skip

# Phrases whose last word is their head but whose first would be read as a verb.
COMPOUNDS = (
    "swimming pool, diving board, hiking trail, walking path, parking lot, running track, skating rink, ice skating "
    "rink, fishing boat, fishing pole, fishing rod, washing machine, shopping cart, shopping bag, shopping center, "
    "jumping rope, climbing wall, rocking chair, racing car, race car, riding gear, hiking gear, running shoes, playing "
    "field, playing card, sleeping bag, frying pan, cutting board, racing bike"
)  # fmt: skip

# Further names of people.
PERSON = (
    "climber, hiker, skiier, skater, performer, bicyclist, racer, kayaker, wrestler, artist, painter, photographer, youth, "
    "youngster, human, acrobat, gymnast, fisherman, snowboarder, boarder, biker, jogger, farmer, vendor, guitarist, "
    "drummer, bystander, clown, actor, actress, cheerleader, referee, coach, opponent, lifeguard, sailor, rower, diver, "
    "hitter, quarterback, businessman, businesswoman, shopper, customer, baker, mechanic, carpenter, builder, cop, nun, "
    "priest, monk, king, queen, prince, princess, twin, sibling, parent, grandparent, neighbor, stranger, individual, "
    "preschooler, schoolboy, schoolgirl, bather, sunbather, trick rider, ballerina, conductor, speaker, host, dude, chap"
)  # fmt: skip

# Words for people by what they say about gender and age.
PEOPLE = {
    "man": "man, guy, gentleman, male, father, dad, husband, son, grandfather, brother, groom, waiter, policeman, fireman, businessman",
    "woman": "woman, lady, female, mother, mom, wife, daughter, grandmother, sister, bride, waitress, policewoman, businesswoman",
    "boy": "boy",
    "girl": "girl",
    "child": "child, kid, toddler, baby, infant",
    "person": "person, adult, worker, player, someone",
}  # fmt: skip
